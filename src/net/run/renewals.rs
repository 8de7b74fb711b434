//! How the kernel is told that addresses are answered at: a datagram to each.

use std::net::{IpAddr, SocketAddr};

use crate::net::layout::Layout;
use crate::net::mark::{Marks, Say, Sent};

/// The addresses, and how it is said of them.
pub(super) struct Renewals {
    /// How it is said; `None` where rules do not expire.
    marks: Option<Marks>,
    /// All addresses, with the port.
    places: Vec<SocketAddr>,
}

/// Of how many addresses it was said and taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Of every one, or nothing has to be said.
    Wholly,
    /// Of these, and not of others.
    Partly,
    /// Of none.
    NotAtAll,
}

impl Said {
    /// Of so many of all.
    const fn of(taken: usize, all: usize) -> Self {
        match taken {
            _ if taken == all => Self::Wholly,
            0 => Self::NotAtAll,
            _ => Self::Partly,
        }
    }
}

impl Renewals {
    /// Of the addresses of a layout.
    pub(super) fn new(marks: Option<Marks>, layout: &Layout) -> Self {
        let mut renewals = Self { marks, places: Vec::new() };
        renewals.follow(layout);
        renewals
    }

    /// The addresses may have changed.
    pub(super) fn follow(&mut self, layout: &Layout) {
        let place = |ip: &IpAddr| SocketAddr::new(*ip, layout.port());
        self.places = layout.addresses().iter().map(place).collect();
    }

    /// All addresses, with the port.
    pub(super) fn places(&self) -> &[SocketAddr] {
        &self.places
    }

    /// Says it of every address.
    pub(super) fn say(&self, say: Say) -> Said {
        let Some(marks) = &self.marks else { return Said::Wholly };
        let is_taken = |place: &&SocketAddr| match marks.send(place.ip(), say) {
            Sent::Renewed => true,
            Sent::Missing => false,
            Sent::Failed(error) => {
                tracing::debug!(%error, address = %place.ip(), "sending a beat");
                false
            }
        };
        Said::of(self.places.iter().filter(is_taken).count(), self.places.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_neither_all_nor_none() {
        let cases =
            [(0, 0, Said::Wholly), (0, 2, Said::NotAtAll), (1, 2, Said::Partly), (2, 2, Said::Wholly)];
        for (taken, all, want) in cases {
            assert_eq!(Said::of(taken, all), want, "{taken} of {all}");
        }
    }
}
