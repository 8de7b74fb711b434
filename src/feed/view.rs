//! Which objects a follower gets.

use super::wire;
use crate::zone::object::Kinds;

/// Which objects of a state a follower gets. Digests and positions are those of a view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct View {
    /// EndpointSlices of headless services only: what most names need, for a fraction of the traffic.
    pub headless_only: bool,
    /// Pods, too, for `pods verified`.
    pub pods: bool,
}

impl View {
    /// The kinds that are in it.
    pub const fn kinds(self) -> Kinds {
        if self.pods { Kinds::ALL } else { Kinds::CORE }
    }
}

impl From<View> for wire::View {
    fn from(View { headless_only, pods }: View) -> Self {
        Self { headless_only, pods }
    }
}

impl From<wire::View> for View {
    fn from(wire::View { headless_only, pods }: wire::View) -> Self {
        Self { headless_only, pods }
    }
}
