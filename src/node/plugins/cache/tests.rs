//! The plugin's options, and rules that need no passage of time.
