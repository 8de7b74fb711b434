//! What a stream is doing, and what it sends next.
//!
//! ```text
//! Begun ── Subscribe ──▶ Waiting ──▶ Queued ──▶ Whole ──▶ Live
//!                            └──────────────────────────▶  │
//!                                      ▲───── too slow ────┘
//! ```

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::feed::frame::{Packet, Subscription};
use crate::hub::gate::{Permit, Place};
use crate::hub::history::Next;
use crate::hub::line::Line;
use crate::hub::metrics::Doing;
use crate::hub::whole::{Part, Progress, Whole};

/// What a stream is doing.
pub(super) enum Stage {
    /// It has not said what it wants.
    Begun {
        /// Until when it has to.
        deadline: Instant,
    },
    /// There is no complete state yet.
    Waiting {
        /// Of this line.
        line: Arc<Line>,
        /// Wakes it.
        head: watch::Receiver<u64>,
        /// What it wants.
        subscription: Box<Subscription>,
    },
    /// It waits for its turn to get the whole state.
    Queued {
        /// Of this line.
        line: Arc<Line>,
        /// Where it waits.
        place: Place,
    },
    /// It is being sent the whole state.
    Whole {
        /// Of this line.
        line: Arc<Line>,
        /// What is sent.
        whole: Arc<Whole>,
        /// Wakes it.
        progress: watch::Receiver<Progress>,
        /// The next packet of it.
        at: usize,
        /// The right to it.
        permit: Permit,
    },
    /// It is told changes as they come.
    Live {
        /// Of this line.
        line: Arc<Line>,
        /// Wakes it.
        head: watch::Receiver<u64>,
        /// The boundary that it has come to.
        seq: u64,
    },
}

/// What is to be done at a stage.
pub(super) enum Todo {
    /// Send this.
    Send(Packet),
    /// Wait.
    Wait,
    /// A whole state is through: go on from its boundary.
    Through(Arc<Line>, u64),
    /// It is this stream's turn to get the whole state.
    Turn(Arc<Line>, Permit),
    /// What comes next is no longer there, or broke: the whole state again.
    Again(Arc<Line>),
    /// There is a complete state now.
    Ready(Box<Subscription>),
    /// It has had its time to say what it wants.
    Late,
}

impl Stage {
    /// What is to be done next.
    pub(super) fn next(&mut self) -> Todo {
        match self {
            Self::Begun { deadline } if Instant::now() >= *deadline => Todo::Late,
            Self::Begun { .. } => Todo::Wait,
            Self::Waiting { line, head, subscription } => {
                head.mark_unchanged();
                match line.now() {
                    Some(_) => Todo::Ready(std::mem::take(subscription)),
                    None => Todo::Wait,
                }
            }
            Self::Queued { line, place } => match place.take() {
                Some(permit) => Todo::Turn(line.clone(), permit),
                None => Todo::Wait,
            },
            Self::Whole { line, whole, progress, at, permit } => {
                progress.mark_unchanged();
                match whole.part(*at) {
                    Part::Packet(packet) => {
                        *at += 1;
                        // There was room for it: the follower reads.
                        permit.progress();
                        Todo::Send(packet)
                    }
                    Part::Wait => Todo::Wait,
                    Part::End => Todo::Through(line.clone(), whole.seq()),
                    Part::Failed => Todo::Again(line.clone()),
                }
            }
            Self::Live { line, head, seq } => {
                head.mark_unchanged();
                match line.after(*seq) {
                    Next::Packet(packet) => {
                        *seq += 1;
                        Todo::Send(packet)
                    }
                    Next::Wait => Todo::Wait,
                    Next::Gone => Todo::Again(line.clone()),
                }
            }
        }
    }

    /// Waits until there may be something to do.
    pub(super) async fn changed(&mut self) {
        match self {
            Self::Begun { deadline } => tokio::time::sleep_until(*deadline).await,
            Self::Waiting { head, .. } | Self::Live { head, .. } => wake(head).await,
            Self::Queued { place, .. } => place.called().await,
            Self::Whole { progress, .. } => wake(progress).await,
        }
    }

    /// As metrics have it.
    pub(super) const fn doing(&self) -> Doing {
        match self {
            Self::Begun { .. } | Self::Waiting { .. } => Doing::Waiting,
            Self::Queued { .. } => Doing::Queued,
            Self::Whole { .. } => Doing::Whole,
            Self::Live { .. } => Doing::Live,
        }
    }

    /// The line that it is about.
    pub(super) const fn line(&self) -> Option<&Arc<Line>> {
        match self {
            Self::Begun { .. } => None,
            Self::Waiting { line, .. }
            | Self::Queued { line, .. }
            | Self::Whole { line, .. }
            | Self::Live { line, .. } => Some(line),
        }
    }
}

async fn wake<T>(receiver: &mut watch::Receiver<T>) {
    if receiver.changed().await.is_err() {
        // Whoever would wake it is gone, and the process is about to be.
        std::future::pending::<()>().await;
    }
}
