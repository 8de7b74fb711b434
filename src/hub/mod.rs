//! The hub: watches the API server once, and serves any number of nodes from what it has.
