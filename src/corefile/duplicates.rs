//! Zones that two server blocks claim on one listener.

use std::collections::HashMap;
use std::fmt;

use super::error::{Error, Position};
use super::key::Scheme;

/// One zone on one listener, as a server block claims it.
#[derive(Clone, Copy, Debug)]
pub struct Listener<'a> {
    /// The transport.
    pub scheme: Scheme,
    /// The zone, lower-case and absolute.
    pub zone: &'a str,
    /// The port.
    pub port: u16,
    /// The address that `bind` gives, in its canonical spelling; `None` without `bind`: every address.
    pub address: Option<&'a str>,
    /// Whether a `view` decides which queries the block takes: such a block may claim what another claims.
    pub filtered: bool,
    /// Where the zone is written.
    pub position: &'a Position,
}

impl fmt::Display for Listener<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme, self.zone, self.port)?;
        self.address.map_or(Ok(()), |address| write!(f, " on {address}"))
    }
}

/// Checks, in the order of the Corefile, that no zone is claimed twice on one listener, and that no block
/// without `bind` claims what another claims on some addresses only. A block with a `view` is measured
/// against the blocks without one that come before it, and stands in nobody's way.
pub fn check_duplicates<'a>(listeners: impl IntoIterator<Item = Listener<'a>>) -> Result<(), Error> {
    let mut claims: HashMap<(Scheme, &str, u16), Vec<Listener<'a>>> = HashMap::new();
    for new in listeners {
        let earlier = claims.entry((new.scheme, new.zone, new.port)).or_default();
        if let Some(old) = earlier.iter().find(|old| old.address == new.address) {
            return Err(refuse(new, &format!("it is already defined (at {})", old.position)));
        }
        if let Some(old) = earlier.iter().find(|old| old.address.is_none() || new.address.is_none()) {
            let why = format!(
                "zone overlap listener capacity with {old} (at {}): blocks that share a zone and a port must all \
                 have 'bind', or none",
                old.position
            );
            return Err(refuse(new, &why));
        }
        if !new.filtered {
            earlier.push(new);
        }
    }
    Ok(())
}

fn refuse(listener: Listener<'_>, why: &str) -> Error {
    Error::new(listener.position, format!("cannot serve {listener} - {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims() {
        struct Case {
            name: &'static str,
            /// Scheme, zone, port, address, whether there is a view.
            listeners: &'static [(Scheme, &'static str, u16, Option<&'static str>, bool)],
            error: Option<&'static str>,
        }
        use Scheme::{Dns, Tls};
        for c in [
            Case { name: "nothing", listeners: &[], error: None },
            Case {
                name: "different zones, ports, schemes",
                listeners: &[
                    (Dns, ".", 53, None, false),
                    (Dns, "a.", 53, None, false),
                    (Dns, ".", 54, None, false),
                    (Tls, ".", 53, None, false),
                ],
                error: None,
            },
            Case {
                name: "twice",
                listeners: &[(Dns, "x.", 53, None, false), (Dns, "x.", 53, None, false)],
                error: Some("cannot serve dns://x.:53 - it is already defined (at t:1)"),
            },
            Case {
                name: "different addresses",
                listeners: &[
                    (Dns, "x.", 53, Some("10.0.0.1"), false),
                    (Dns, "x.", 53, Some("10.0.0.2"), false),
                ],
                error: None,
            },
            Case {
                name: "twice on an address",
                listeners: &[
                    (Dns, "x.", 53, Some("10.0.0.1"), false),
                    (Dns, "x.", 53, Some("10.0.0.1"), false),
                ],
                error: Some("cannot serve dns://x.:53 on 10.0.0.1 - it is already defined"),
            },
            Case {
                name: "bound after unbound",
                listeners: &[(Dns, "x.", 53, None, false), (Dns, "x.", 53, Some("10.0.0.1"), false)],
                error: Some(
                    "dns://x.:53 on 10.0.0.1 - zone overlap listener capacity with dns://x.:53 (at t:1)",
                ),
            },
            Case {
                name: "unbound after bound",
                listeners: &[(Dns, "x.", 53, Some("10.0.0.1"), false), (Dns, "x.", 53, None, false)],
                error: Some("dns://x.:53 - zone overlap listener capacity with dns://x.:53 on 10.0.0.1"),
            },
            Case {
                name: "views share a zone",
                listeners: &[
                    (Dns, "x.", 53, None, true),
                    (Dns, "x.", 53, None, true),
                    (Dns, "x.", 53, None, false),
                ],
                error: None,
            },
            Case {
                name: "a view behind a block that takes everything",
                listeners: &[(Dns, "x.", 53, None, false), (Dns, "x.", 53, None, true)],
                error: Some("it is already defined"),
            },
        ] {
            let positions: Vec<_> = (1..).map(|line| Position { file: "t".into(), line }).take(9).collect();
            let listeners = c.listeners.iter().zip(&positions).map(
                |(&(scheme, zone, port, address, filtered), position)| Listener {
                    scheme,
                    zone,
                    port,
                    address,
                    filtered,
                    position,
                },
            );
            match (check_duplicates(listeners), c.error) {
                (Ok(()), None) => {}
                (Err(got), Some(want)) => {
                    assert!(got.message().contains(want), "{}: {got}", c.name);
                    assert_eq!(got.position().line as usize, c.listeners.len(), "{}", c.name);
                }
                (got, want) => panic!("{}: {got:?}, wanted {want:?}", c.name),
            }
        }
    }
}
