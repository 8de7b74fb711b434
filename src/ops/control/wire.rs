//! Lines on the socket.

use std::io;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::command::Command;

/// Version of the protocol. Fields and commands are added within one version; another one would be another protocol.
pub const VERSION: u32 = 1;

/// Longest request in bytes: a name of 255 octets takes 1,020 in presentation form, and as much again in JSON.
pub(super) const MAX_REQUEST: usize = 4 << 10;

/// Longest reply that a client takes, in bytes: a status is some kilobytes for each store.
pub(super) const MAX_REPLY: usize = 4 << 20;

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// For programs.
    pub kind: RefusalKind,
    /// For people.
    pub message: String,
}

/// Why there is no result, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalKind {
    /// Who asks is neither root nor the process's own user.
    Denied,
    /// Too many others ask.
    Busy,
    /// No such command here: that of another release, or of another role.
    Unknown,
    /// The request is not one, or its arguments are wrong.
    Wrong,
    /// It took too long; an order may yet be carried out.
    Late,
    /// It could not be done.
    Failed,
    /// One that this release does not know.
    #[serde(other)]
    Other,
}

impl Refusal {
    /// A refusal of this kind.
    pub fn new(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The arguments are wrong.
    pub fn wrong(message: impl Into<String>) -> Self {
        Self::new(RefusalKind::Wrong, message)
    }

    /// It could not be done.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(RefusalKind::Failed, message)
    }
}

/// What a command leads to, as it travels.
///
/// # Errors
/// A model that is not JSON, which is a bug and none of the asker's.
pub fn value(result: &impl Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(result).map_err(|error| Refusal::failed(error.to_string()))
}

/// A request as it travels.
#[derive(Serialize)]
struct Request<'a> {
    v: u32,
    #[serde(flatten)]
    command: &'a Command,
}

/// A reply as it travels: one of the two.
#[derive(Serialize, Deserialize)]
struct Reply {
    v: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    ok: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Refusal>,
}

/// A reply that says nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Garbled;

/// The line of a request.
pub(super) fn request(command: &Command) -> Vec<u8> {
    line(&Request { v: VERSION, command })
}

/// The command of a request.
pub(super) fn command(line: &[u8]) -> Result<Command, Refusal> {
    let request: Value = serde_json::from_slice(line)
        .map_err(|error| Refusal::wrong(format!("the request is not a line of JSON: {error}")))?;
    match request.get("v").and_then(Value::as_u64) {
        Some(v) if v == u64::from(VERSION) => {}
        _ => return Err(Refusal::wrong(format!("the request is not of version {VERSION}: \"v\":{VERSION}"))),
    }
    match request.get("command").and_then(Value::as_str) {
        Some(name) if Command::NAMES.contains(&name) => {}
        Some(name) => {
            let known = Command::NAMES.join(", ");
            return Err(Refusal::new(
                RefusalKind::Unknown,
                format!("no command {name:?} here, only {known}"),
            ));
        }
        None => return Err(Refusal::wrong("the request names no command")),
    }
    serde_json::from_value(request).map_err(|error| Refusal::wrong(error.to_string()))
}

/// The line of a reply.
pub(super) fn reply(result: Result<Value, Refusal>) -> Vec<u8> {
    let (ok, error) = match result {
        Ok(value) => (Some(value), None),
        Err(refusal) => (None, Some(refusal)),
    };
    line(&Reply { v: VERSION, ok, error })
}

/// What a reply says.
pub(super) fn result(line: &[u8]) -> Result<Result<Value, Refusal>, Garbled> {
    match serde_json::from_slice(line).map_err(|_| Garbled)? {
        Reply { v: VERSION, ok: None, error: Some(refusal) } => Ok(Err(refusal)),
        Reply { v: VERSION, ok, error: None } => Ok(Ok(ok.unwrap_or_default())),
        Reply { .. } => Err(Garbled),
    }
}

fn line(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("maps with text for keys are always JSON");
    line.push(b'\n');
    line
}

/// A line without its end.
pub(super) enum Line {
    /// It is whole.
    Whole(Vec<u8>),
    /// It is longer than allowed.
    TooLong,
    /// The other end closed before it was.
    Cut,
}

/// Reads a line of at most `max` bytes. What follows it in the same packet is not kept: there is one line each way.
pub(super) async fn read_line(from: &mut (impl AsyncRead + Unpin), max: usize) -> io::Result<Line> {
    let mut line = Vec::new();
    // One more than allowed, so that what is too long can be told.
    let mut from = from.take(max as u64 + 1);
    loop {
        let read = from.read_buf(&mut line).await?;
        let fresh = line.len() - read;
        if let Some(end) = line[fresh..].iter().position(|b| *b == b'\n') {
            line.truncate(fresh + end);
            return Ok(Line::Whole(line));
        }
        if line.len() > max {
            return Ok(Line::TooLong);
        }
        if read == 0 {
            return Ok(Line::Cut);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_line_and_comes_back_as_it_was() {
        let zone = Some("cluster.local.".to_owned());
        let commands = [
            Command::Status,
            Command::Ready,
            Command::Alive,
            Command::Lookup { name: "a\n.b\"".to_owned(), kind: "A".to_owned() },
            Command::Accept { zone: None },
            Command::Freeze { for_s: Some(60), zone: zone.clone() },
            Command::Thaw { zone: None },
            Command::Generations { zone: None },
            Command::Rollback { generation: u64::MAX, for_s: None, zone },
            Command::Pin {
                name: "a.b.".to_owned(),
                kind: "TXT".to_owned(),
                value: "\"a\\\"b\"".to_owned(),
                for_s: Some(60),
            },
            Command::Unpin { name: Some("a.b.".to_owned()), kind: None },
            Command::Pins,
            Command::Top,
        ];
        assert_eq!(commands.each_ref().map(Command::name), Command::NAMES, "every command");
        for sent in commands {
            let line = request(&sent);
            assert_eq!(line.iter().filter(|b| **b == b'\n').count(), 1);
            assert!(line.len() <= MAX_REQUEST);
            let text = String::from_utf8_lossy(&line).into_owned();
            assert!(text.contains(&format!("\"command\":\"{}\"", sent.name())), "{text}");
            assert_eq!(command(&line), Ok(sent), "{text}");
        }
    }

    #[test]
    fn what_is_left_out_of_a_request_has_a_default() {
        for (text, want) in [
            (r#"{"v":1,"command":"accept"}"#, Command::Accept { zone: None }),
            (r#"{"v":1,"command":"freeze","new":[1]}"#, Command::Freeze { for_s: None, zone: None }),
            (
                r#"{"v":1,"command":"rollback","generation":7}"#,
                Command::Rollback { generation: 7, for_s: None, zone: None },
            ),
            (r#"{"v":1,"command":"unpin"}"#, Command::Unpin { name: None, kind: None }),
        ] {
            assert_eq!(command(text.as_bytes()), Ok(want), "{text}");
        }
    }

    #[test]
    fn requests_that_are_none() {
        for (text, kind, says) in [
            ("", RefusalKind::Wrong, "not a line of JSON"),
            ("status", RefusalKind::Wrong, "not a line of JSON"),
            ("[]", RefusalKind::Wrong, "not of version 1"),
            (r#"{"command":"status"}"#, RefusalKind::Wrong, "not of version 1"),
            (r#"{"v":2,"command":"status"}"#, RefusalKind::Wrong, "not of version 1"),
            (r#"{"v":1}"#, RefusalKind::Wrong, "names no command"),
            (r#"{"v":1,"command":"reboot"}"#, RefusalKind::Unknown, "no command \"reboot\" here"),
            (r#"{"v":1,"command":"rollback"}"#, RefusalKind::Wrong, "missing field `generation`"),
            (r#"{"v":1,"command":"freeze","for_s":-1}"#, RefusalKind::Wrong, "invalid value"),
        ] {
            let refusal = command(text.as_bytes()).unwrap_err();
            assert_eq!(refusal.kind, kind, "{text}");
            assert!(refusal.message.contains(says), "{text}: {refusal}");
        }
    }

    #[test]
    fn replies() {
        let refusal = Refusal::failed("disk full");
        for sent in [Ok(Value::Null), Ok(serde_json::json!({"a": [1, 2]})), Err(refusal)] {
            assert_eq!(result(&reply(sent.clone())), Ok(sent));
        }
        let newer = br#"{"v":1,"error":{"kind":"tired","message":"m"}}"#;
        assert_eq!(result(newer), Ok(Err(Refusal::new(RefusalKind::Other, "m"))));
        for garbled in
            ["", "{}", r#"{"v":2,"ok":1}"#, r#"{"v":1,"ok":1,"error":{"kind":"late","message":""}}"#]
        {
            assert_eq!(result(garbled.as_bytes()), Err(Garbled), "{garbled}");
        }
    }
}
