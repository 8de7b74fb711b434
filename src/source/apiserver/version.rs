//! What release the API server is of, as far as following depends on it.

use serde::Deserialize;

use super::client::{Client, deadline};
use super::fault::Fault;
use super::metrics::Verb;

/// The first release whose caches ask their store how far it is when somebody wants to know
/// ([consistent reads from cache](https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions)), so
/// that bookmarks follow. Before, it depends on how etcd is set up.
const TELLS_PROGRESS_FROM: (u32, u32) = (1, 31);

/// The longest document that is read: a real one has 400 bytes.
const MAX_DOCUMENT: usize = 64 << 10;

/// `/version`, the two fields that matter.
#[derive(Debug, Deserialize)]
struct Document {
    /// `1`
    major: String,
    /// `36`, or with a mark of whoever built it `36+`.
    minor: String,
}

/// Whether the server's bookmarks tell how far it is, by its release. Every user who has a token may ask.
pub(super) async fn tells_progress(client: &Client) -> Result<bool, Fault> {
    let mut answer = client.get(Verb::Version, "version", "/version").await?;
    let (at, mut text) = (answer.began() + deadline::PAGE, Vec::new());
    while let Some(piece) = answer.piece(at, "reading the version").await? {
        text.extend_from_slice(&piece);
        if text.len() > MAX_DOCUMENT {
            return Err(Fault::Malformed { why: "a version of more than 64 KiB".to_owned() });
        }
    }
    let document = serde_json::from_slice(&text);
    let document: Document = document.map_err(|e| Fault::Malformed { why: format!("the version: {e}") })?;
    Ok(is_recent(&document))
}

fn is_recent(Document { major, minor }: &Document) -> bool {
    let number = |text: &str| {
        let digits = text.find(|c: char| !c.is_ascii_digit()).map_or(text, |end| &text[..end]);
        digits.parse::<u32>().ok()
    };
    number(major).zip(number(minor)).is_some_and(|release| release >= TELLS_PROGRESS_FROM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_that_tell_how_far_they_are() {
        for (major, minor, want) in [
            ("1", "30", false),
            ("1", "31", true),
            ("1", "36+", true),
            ("1", "9", false),
            ("2", "0", true),
            ("1", "", false),
            ("", "36", false),
            ("one", "x", false),
        ] {
            let document = Document { major: major.to_owned(), minor: minor.to_owned() };
            assert_eq!(is_recent(&document), want, "{major}.{minor}");
        }
    }
}
