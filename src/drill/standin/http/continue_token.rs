//! The token by which the next page of a list is asked for: base64 of `{"v","rv","start"}`.

use base64::DecodeError;
use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};
use serde::Deserialize;

use super::go;

/// Go's `RawURLEncoding`, which does not mind the bits after the last byte.
const BASE64: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, NO_PAD.with_decode_allow_trailing_bits(true));

/// The version of its format.
const VERSION: &str = "meta.k8s.io/v1";

/// Where the next page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ContinueToken {
    /// The version of the whole list; `None` for a rest that is as of now.
    pub(super) version: Option<u64>,
    /// The first key that may be in the page, relative to the list's own place.
    pub(super) start: String,
}

/// The JSON in it.
#[derive(Deserialize)]
struct Encoded {
    /// [`VERSION`]
    #[serde(default)]
    v: String,
    /// -1 for a rest that is as of now.
    #[serde(default)]
    rv: i64,
    /// With a slash in front.
    #[serde(default)]
    start: String,
}

impl ContinueToken {
    /// The token for what comes after the object `last`.
    pub(super) fn after(version: Option<u64>, last: &str) -> Self {
        Self { version, start: format!("{last}\0") }
    }

    /// The parameter `continue`.
    pub(super) fn encode(&self) -> String {
        let start = go::json_string(&format!("/{}", self.start));
        let rv = self.version.map_or("-1".to_owned(), |v| v.to_string());
        BASE64.encode(format!("{{\"v\":\"{VERSION}\",\"rv\":{rv},\"start\":{start}}}"))
    }

    /// Reads the parameter `continue`.
    ///
    /// # Errors
    /// The server's words, where it is none of its tokens.
    pub(super) fn decode(token: &str) -> Result<Self, String> {
        let fail = |why: String| format!("continue key is not valid: {why}");
        let json = BASE64.decode(token).map_err(|error| {
            let at = match error {
                DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol { offset: at, .. } => at,
                _ => token.len(),
            };
            fail(format!("illegal base64 data at input byte {at}"))
        })?;
        let encoded: Encoded = serde_json::from_slice(&json).map_err(|e| fail(go::json_error(&json, &e)))?;
        if encoded.v != VERSION {
            return Err(fail(format!(
                "server does not recognize this encoded version {}",
                go::quote(&encoded.v)
            )));
        }
        let version = match encoded.rv {
            0 => return Err(fail(format!("incorrect encoded start resourceVersion (version {VERSION})"))),
            rv => u64::try_from(rv).ok(),
        };
        let start = encoded.start.strip_prefix('/').unwrap_or(&encoded.start);
        if start.is_empty() || start.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
            return Err(fail(format!("incorrect encoded start key (version {VERSION})")));
        }
        Ok(Self { version, start: start.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_as_recorded() {
        let token = ContinueToken::after(Some(293), "shop/empty-headless");
        let text =
            "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MjkzLCJzdGFydCI6Ii9zaG9wL2VtcHR5LWhlYWRsZXNzXHUwMDAwIn0";
        assert_eq!(token.encode(), text);
        assert_eq!(ContinueToken::decode(text), Ok(token));
        let rest = ContinueToken::after(None, "default");
        assert_eq!(ContinueToken::decode(&rest.encode()), Ok(rest));
    }

    #[test]
    fn what_is_no_token_is_refused_in_gos_words() {
        let encode = |json: &str| BASE64.encode(json);
        for (token, why) in [
            ("garbage".to_owned(), r"invalid character '\u0081' looking for beginning of value"),
            ("a*".to_owned(), "illegal base64 data at input byte 1"),
            (encode("{"), "unexpected end of JSON input"),
            (encode(r#"{"v":"v2"}"#), "server does not recognize this encoded version \"v2\""),
            (
                encode(r#"{"v":"meta.k8s.io/v1"}"#),
                "incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
            ),
            (
                encode(r#"{"v":"meta.k8s.io/v1","rv":2,"start":"/a/../b"}"#),
                "incorrect encoded start key (version meta.k8s.io/v1)",
            ),
        ] {
            assert_eq!(ContinueToken::decode(&token), Err(format!("continue key is not valid: {why}")));
        }
    }
}
