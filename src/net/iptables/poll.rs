//! Polls the old tables of iptables, of which the kernel tells nothing: whoever flushes them takes away what leads queries
//! here or lets them through.
//!
//! One list a table is much less than asking for each rule, and only says that something has changed: then each rule is asked
//! for. Done beside the beat, as programs wait for each other.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::Iptables;
use crate::net::beside::Cue;

/// Between two lists: rules are back within a second, with the beat that puts them back.
const PERIOD: Duration = Duration::from_millis(500);

/// Who polls.
pub struct Poll(Iptables);

impl Poll {
    /// Of these rules.
    pub const fn new(rules: Iptables) -> Self {
        Self(rules)
    }

    /// Says that rules have changed, be it by ourselves, while the addresses are ours and until nobody asks any more.
    pub(in crate::net) async fn run(self, mut cues: watch::Receiver<Cue>, said: watch::Sender<()>) {
        let mut before = None;
        while cues.wait_for(|cue| cue.owns).await.is_ok() {
            // Whoever looks at each rule complains of programs.
            if let Ok(listed) = self.0.listed().await {
                let now = Some(listed);
                if before.is_some() && before != now {
                    said.send_replace(());
                }
                before = now;
            }
            sleep(PERIOD).await;
        }
    }
}
