//! For how long the own certificate counts, for people: read from its file when they ask.

use std::path::PathBuf;

use super::config::TrustConfig;
use super::facts::Facts;
use super::pem;
use crate::ops::clock::WallClock;

/// For how long a certificate counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Its file.
    pub path: PathBuf,
    /// Seconds until its end, negative since then; or why it cannot be used.
    pub left_s: Result<i64, String>,
    /// For how many seconds it counts in all; 0 where it cannot be used.
    pub life_s: u64,
    /// For how many seconds after its end we would believe one; others have a grace of their own, which is the same
    /// where all are configured alike.
    pub grace_s: u64,
}

/// Reads the own certificate on a thread that may block; `None` where there is none.
pub async fn of_now(trust: TrustConfig, clock: &WallClock) -> Option<Validity> {
    let now = i64::try_from(clock.now_unix_ms() / 1000).unwrap_or(i64::MAX);
    tokio::task::spawn_blocking(move || validity(&trust, now)).await.ok()?
}

/// Reads the own certificate as of `now` (Unix seconds); `None` where there is none. Blocks while it reads.
pub fn validity(trust: &TrustConfig, now: i64) -> Option<Validity> {
    let TrustConfig::Tls(files) = trust else { return None };
    let read = || -> Result<(i64, u64), String> {
        let text = pem::read(&files.cert).map_err(|error| error.to_string())?;
        let chain = pem::certificates(&files.cert, &text).map_err(|error| error.to_string())?;
        let own = chain.first().ok_or("there is none in it")?;
        let facts = Facts::read(own).map_err(|error| error.to_string())?;
        if facts.not_before > now {
            return Err("it is not valid yet: is the clock right?".to_owned());
        }
        let life = facts.not_after.saturating_sub(facts.not_before);
        Ok((facts.not_after.saturating_sub(now), u64::try_from(life).unwrap_or_default()))
    };
    let read = read();
    let life_s = read.as_ref().map_or(0, |(_, life)| *life);
    let left_s = read.map(|(left, _)| left);
    Some(Validity { path: files.cert.clone(), left_s, life_s, grace_s: files.grace.as_secs() })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::trust::config::TlsFiles;
    use crate::trust::issue::authority;

    /// This text as a certificate's file, as what trust is configured with.
    fn trust(dir: &std::path::Path, text: &[u8]) -> TrustConfig {
        let path = |name: &str| dir.join(name);
        std::fs::write(path("cert"), text).unwrap();
        let grace = Duration::from_secs(60);
        TrustConfig::Tls(TlsFiles { ca: path("ca"), cert: path("cert"), key: path("key"), grace })
    }

    #[test]
    fn what_cannot_be_read_says_why_and_plain_text_has_none() {
        assert_eq!(validity(&TrustConfig::Plain, 0), None);
        let dir = tempfile::tempdir().unwrap();
        let broken = trust(dir.path(), b"nothing");
        let read = validity(&broken, 0).unwrap();
        assert_eq!((read.path, read.grace_s), (dir.path().join("cert"), 60));
        assert!(read.left_s.unwrap_err().contains("there is none in it"));
        std::fs::remove_file(dir.path().join("cert")).unwrap();
        assert!(validity(&broken, 0).unwrap().left_s.unwrap_err().contains("cert"));
    }

    #[test]
    fn seconds_until_the_end_and_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let pair = authority("a", 1_000_000, Duration::from_secs(86_400)).unwrap();
        let trust = trust(dir.path(), pair.certificate.as_bytes());
        let left = |now| validity(&trust, now).unwrap().left_s;
        assert_eq!(left(1_000_000), Ok(86_400));
        let life = validity(&trust, 1_000_000).unwrap().life_s;
        assert!((86_400..2 * 86_400).contains(&life), "{life}: it begins a little before it was made");
        assert_eq!(left(1_000_000 + 86_500), Ok(-100));
        assert!(left(1).unwrap_err().contains("not valid yet"));
    }
}
