//! What is configured of trust.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// For how long after its end a certificate is believed unless `cert_grace` says otherwise: what an outage over a long
/// weekend takes, with some days to renew all that ended during it.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(7 * DAY);

/// The longest grace: a quarter of the year that certificates last. Beyond that, dates would mean nothing.
pub const MAX_GRACE: Duration = Duration::from_secs(90 * DAY);

/// Seconds.
const DAY: u64 = 86_400;

/// How two ends of a connection know each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TrustConfig {
    /// Not at all: plain text, on loopback or by an explicit flag.
    Plain,
    /// By certificates of one authority.
    Tls(TlsFiles),
}

/// The files, which are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TlsFiles {
    /// Certificates of the authority, PEM.
    pub ca: PathBuf,
    /// The own certificate with its chain, PEM.
    pub cert: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// For how long after its expiry a certificate is still believed, on either side.
    pub grace: Duration,
}

/// A grace, or why it is none.
///
/// # Errors
/// More than [`MAX_GRACE`].
pub fn check_grace(grace: Duration) -> Result<Duration, GraceTooLong> {
    if grace <= MAX_GRACE { Ok(grace) } else { Err(GraceTooLong) }
}

/// A grace that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the grace of an expired certificate is at most {} days", MAX_GRACE.as_secs() / DAY)]
pub struct GraceTooLong;

/// Whether plain text may be spoken from or to these addresses: on loopback, where whoever listens is root anyway, or
/// because somebody said so.
///
/// # Errors
/// The first address that is not loopback's.
pub fn check_plain(addresses: &[SocketAddr], explicit: bool) -> Result<(), PlainRefused> {
    let open = addresses.iter().find(|address| !address.ip().to_canonical().is_loopback());
    match open {
        Some(address) if !explicit => Err(PlainRefused(*address)),
        _ => Ok(()),
    }
}

/// Plain text beyond loopback that nobody asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} is not on loopback: whoever is on the way could make up the cluster's names; name the certificates \
     ('outlast certs' makes some), or say explicitly that plain text will do"
)]
pub struct PlainRefused(pub SocketAddr);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_for_loopback_or_for_those_who_say_so() {
        struct Case {
            name: &'static str,
            addresses: &'static [&'static str],
            explicit: bool,
            refused: Option<&'static str>,
        }
        let cases = [
            Case { name: "nothing is no risk", addresses: &[], explicit: false, refused: None },
            Case { name: "loopback", addresses: &["127.0.0.1:1", "[::1]:1"], explicit: false, refused: None },
            Case { name: "all of 127/8", addresses: &["127.9.9.9:1"], explicit: false, refused: None },
            Case {
                name: "loopback as IPv6",
                addresses: &["[::ffff:127.0.0.1]:1"],
                explicit: false,
                refused: None,
            },
            Case {
                name: "one of two",
                addresses: &["127.0.0.1:1", "10.0.0.1:1"],
                explicit: false,
                refused: Some("10.0.0.1:1"),
            },
            Case { name: "any address", addresses: &["[::]:1"], explicit: false, refused: Some("[::]:1") },
            Case { name: "explicit", addresses: &["10.0.0.1:1"], explicit: true, refused: None },
        ];
        for Case { name, addresses, explicit, refused } in cases {
            let addresses: Vec<SocketAddr> =
                addresses.iter().map(|a| a.parse().expect("an address")).collect();
            let refused = refused.map(|a| PlainRefused(a.parse().expect("an address")));
            assert_eq!(check_plain(&addresses, explicit).err(), refused, "{name}");
        }
    }

    #[test]
    fn a_grace_has_its_limit() {
        assert_eq!(check_grace(Duration::ZERO), Ok(Duration::ZERO));
        assert_eq!(check_grace(MAX_GRACE), Ok(MAX_GRACE));
        assert_eq!(check_grace(MAX_GRACE + Duration::from_secs(1)), Err(GraceTooLong));
    }
}
