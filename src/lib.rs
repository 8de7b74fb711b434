//! Cluster DNS that outlasts the control plane.
//!
//! When a control plane falls, DNS leans on it and falls too, and takes with it everything that would help to
//! put it up again. Outlast is a DNS server for every node of a Kubernetes cluster that answers the cluster's
//! names from a table in its own memory, which it loads from its own disk before it has any network.
//!
//! **The availability rule.** A query never waits for, and never fails because of, the control plane. Once a
//! node has had data, it answers: after a crash, a restart, an upgrade, with the source of its data gone, for
//! as long as it takes, and says how old the data is.
//!
//! # The way of a query, and the way of a change
//!
//! ```text
//! QUERY   socket > node::listen::udp > node::lane > socket
//!         socket > node::listen > node::gate > node::router > node::plugins > node::reply > socket
//!                                                  kubernetes ── store ── zone
//!                                                  forward ───── forward
//!
//! HUB     source > store > hub::index > hub::line > hub::serve > followers
//!
//! UPDATE  source > store::writer > Table, a new generation (zone) > what the plugins read
//!                                      > store::keeper > snapshot > disk
//!
//! BOOT    disk > snapshot > store > node::listen, and only then the source
//! ```
//!
//! # Reading order
//!
//! 1. [`zone`]: WHAT the answer is. Plain functions over an immutable [`zone::Table`].
//! 2. [`store`]: the generations of the table, and how fresh they are.
//! 3. [`node::plugins`]: the Corefile's plugins; [`node::plugins::kubernetes`] is the one that matters.
//!    [`node::lane`]: how plain questions are answered without them.
//! 4. [`node::running`]: how it is all put together and started.
//! 5. [`snapshot`] and [`feed`]: how a table gets to the disk and back.
//! 6. [`source`]: where objects come from.
//! 7. [`hub`]: one that watches for all nodes.
//! 8. [`corefile`], [`forward`], [`ops`], [`cli`]: configuration, other names, operation, the command.
//! 9. [`net`]: how queries for the cluster's DNS come to a node, and leave it when it does not answer.
//! 10. [`drill`]: an API server that can be told to fail, for drills and tests.
//!
//! Dependencies point one way: `zone` imports no other module; `feed` and `snapshot` import `zone`; `source`
//! and `node` import those. `tests/architecture.rs` checks it.

pub mod cli;
pub mod corefile;
pub mod drill;
pub mod feed;
pub mod forward;
pub mod hub;
pub mod net;
pub mod node;
pub mod ops;
pub mod snapshot;
pub mod source;
pub mod store;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod trust;
pub mod zone;
