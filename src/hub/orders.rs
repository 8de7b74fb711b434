//! The way to the hub's source, which is another one while the hub fills from a sibling, and none in between.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::source::command::{Command, Commands};

/// To the source. Cheap to clone.
#[derive(Clone, Default)]
pub struct ToSource(Arc<ArcSwapOption<Commands>>);

impl ToSource {
    /// The source is this one now.
    pub(super) fn set(&self, commands: Commands) {
        self.0.store(Some(Arc::new(commands)));
    }

    /// Asks for something. Whether the source will hear of it: the way to it is short, and may be full.
    pub fn ask(&self, command: Command) -> bool {
        self.0.load().as_ref().is_some_and(|commands| commands.try_send(command).is_ok())
    }
}
