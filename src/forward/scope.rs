//! Which names a `forward` is for: FROM and `except`.

use hickory_proto::rr::Name;

/// A zone as a name's tail: wire format, lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Zone(Box<[u8]>);

impl Zone {
    fn parse(text: &str) -> Result<Self, BadZone> {
        let bad = |why: String| BadZone { zone: text.to_owned(), why };
        let name = Name::from_ascii(text).map_err(|e| bad(e.to_string()))?;
        let mut wire = Vec::with_capacity(name.len() + 1);
        for label in name.iter() {
            // A label of a Name has at most 63 bytes.
            wire.push(label.len() as u8);
            wire.extend(label.to_ascii_lowercase());
        }
        wire.push(0);
        Ok(Self(wire.into()))
    }

    /// Whether `name` (wire format, any letter case) is the zone's own name or below it.
    fn contains(&self, mut name: &[u8]) -> bool {
        // The tail is compared only where a label begins: `ab.` is not in `b.`.
        while name.len() > self.0.len() {
            match name.split_first() {
                Some((&length, rest)) if length > 0 => name = rest.get(usize::from(length)..).unwrap_or(&[]),
                _ => return false,
            }
        }
        self.is(name)
    }

    fn is(&self, name: &[u8]) -> bool {
        self.0.eq_ignore_ascii_case(name)
    }
}

/// A name in wire format, lower case.
pub(super) fn wire_name(text: &str) -> Result<Box<[u8]>, BadZone> {
    Zone::parse(text).map(|zone| zone.0)
}

/// A zone that is not a domain name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{zone:?} is not a domain name: {why}")]
pub struct BadZone {
    /// What was given.
    pub zone: String,
    /// What is wrong with it.
    pub why: String,
}

/// FROM and `except` of a `forward`.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    /// The zone that is forwarded.
    from: Zone,
    /// Zones below it that are not.
    except: Box<[Zone]>,
}

impl Scope {
    pub(super) fn new(from: &str, except: &[String]) -> Result<Self, BadZone> {
        let except = except.iter().map(|zone| Zone::parse(zone)).collect::<Result<_, _>>()?;
        Ok(Self { from: Zone::parse(from)?, except })
    }

    /// Whether `name` (wire format, any letter case) is forwarded. FROM itself always is.
    pub(super) fn matches(&self, name: &[u8]) -> bool {
        self.from.is(name) || self.from.contains(name) && !self.except.iter().any(|zone| zone.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wire(name: &str) -> Vec<u8> {
        Zone::parse(&name.to_ascii_lowercase()).unwrap().0.into_vec()
    }

    #[test]
    fn names_in_from_and_not_excepted_match() {
        struct Case {
            from: &'static str,
            except: &'static [&'static str],
            yes: &'static [&'static str],
            no: &'static [&'static str],
        }
        let cases = [
            Case { from: ".", except: &[], yes: &[".", "example.", "a.b.example."], no: &[] },
            Case {
                from: "example.",
                except: &[],
                yes: &["example.", "a.example.", "a.b.example."],
                no: &[".", "xexample.", "example.org.", "notexample."],
            },
            Case {
                from: ".",
                except: &["corp.example.", "local."],
                yes: &["example.", "xcorp.example.", "localx."],
                no: &["corp.example.", "a.corp.example.", "local.", "x.y.local."],
            },
            Case { from: "example.", except: &["example."], yes: &["example."], no: &["a.example."] },
            Case { from: "Example", except: &["A.example"], yes: &["b.example."], no: &["a.example."] },
        ];
        for case in cases {
            let except: Vec<String> = case.except.iter().map(ToString::to_string).collect();
            let scope = Scope::new(case.from, &except).unwrap();
            for (names, want) in [(case.yes, true), (case.no, false)] {
                for name in names {
                    assert_eq!(scope.matches(&wire(name)), want, "{} except {except:?}: {name}", case.from);
                    let upper: Vec<u8> = wire(name).to_ascii_uppercase();
                    assert_eq!(scope.matches(&upper), want, "upper case {name}");
                }
            }
        }
    }

    #[test]
    fn a_label_that_spells_the_zone_is_not_in_it() {
        // One label `a\.example`, then `test.`: spelled as text it ends like a name in `example.test.`.
        let name = b"\x09a.example\x04test\x00";
        assert!(!Scope::new("example.test.", &[]).unwrap().matches(name));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let error = Scope::new("a..b.", &[]).unwrap_err();
        assert!(error.to_string().starts_with("\"a..b.\" is not a domain name: "), "{error}");
        let long = format!("{}.", "x".repeat(64));
        assert!(Scope::new(".", &[long]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(name in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Scope::new("example.", &["a.example.".to_owned()]).unwrap().matches(&name);
        }
    }
}
