//! Secrets of one namespace: read, made and replaced, for `outlast certs secrets`. The only writes to an API server in the
//! program; neither hubs nor nodes can make them, nor have the right to.
//!
//! A replacement says which version it replaces, so that nobody's change is lost: who was overtaken hears of it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use kube::client::Body;
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::access::Place;
use super::client;
use super::fault::{Fault, said};

/// How long one request may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// The largest answer that is read: a Secret has at most 1 MiB of data, a third more as base64.
const MAX_BODY: usize = 4 << 20;

/// A Secret with what is not ours in it as it was found.
#[derive(Clone)]
pub struct Secret {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub data: BTreeMap<String, Vec<u8>>,
    /// The object.
    object: Map<String, Value>,
}

/// Its keys alone: the values are nobody's to see.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self.data.keys().collect();
        f.debug_struct("Secret").field("name", &self.name).field("keys", &keys).finish_non_exhaustive()
    }
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is there.
    Done,
    /// Somebody else was faster: what is there now has to be read.
    Overtaken,
}

/// Why a Secret could not be read or written.
#[derive(Debug, Error)]
pub enum SecretError {
    /// The configuration cannot be used.
    #[error("{0}")]
    Config(String),
    /// What the API server said, or that it did not.
    #[error("{what} Secret {namespace}/{name}: {why}")]
    Asked {
        /// What was tried.
        what: &'static str,
        /// Where.
        namespace: String,
        /// Which.
        name: String,
        /// What came of it.
        why: String,
    },
}

impl Secret {
    /// One that is not there yet, of a type such as `kubernetes.io/tls`.
    pub fn new(name: &str, kind: &str, labels: &[(&str, &str)]) -> Self {
        let labels: Map<_, _> = labels.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let object = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": name, "labels": labels },
            "type": kind,
        });
        let object = object.as_object().cloned().unwrap_or_default();
        Self { name: name.to_owned(), data: BTreeMap::new(), object }
    }

    /// Whether it has this label.
    pub fn has_label(&self, key: &str, value: &str) -> bool {
        let labels = self.object.get("metadata").and_then(|metadata| metadata.get("labels"));
        labels.and_then(|labels| labels.get(key)).and_then(Value::as_str) == Some(value)
    }

    /// As the API server has it.
    fn read(name: &str, body: &[u8]) -> Result<Self, String> {
        let object: Map<String, Value> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let given = object.get("data").and_then(Value::as_object).into_iter().flatten();
        let decoded = given.map(|(key, value)| {
            let bytes = STANDARD.decode(value.as_str().unwrap_or_default());
            Ok((key.clone(), bytes.map_err(|error| format!("data {key}: {error}"))?))
        });
        let data = decoded.collect::<Result<_, String>>()?;
        Ok(Self { name: name.to_owned(), data, object })
    }

    /// As the API server takes it.
    fn body(&self) -> Vec<u8> {
        let mut object = self.object.clone();
        let data: Map<_, _> =
            self.data.iter().map(|(key, bytes)| (key.clone(), json!(STANDARD.encode(bytes)))).collect();
        object.insert("data".to_owned(), Value::Object(data));
        Value::Object(object).to_string().into_bytes()
    }
}

/// The Secrets of a namespace.
pub struct Secrets {
    /// Asks.
    client: kube::Client,
    /// Which namespace.
    namespace: String,
}

impl Secrets {
    /// Of this namespace; nothing is sent yet. To be called within a runtime.
    ///
    /// # Errors
    /// A configuration that cannot be read.
    pub async fn new(place: Place, namespace: &str) -> Result<Self, SecretError> {
        // Files, and plugins of a kubeconfig, may be slow.
        let made = tokio::task::spawn_blocking(move || client::once(&place)).await;
        let made = made.unwrap_or_else(|error| Err(format!("reading the configuration: {error}")));
        let client = made.map_err(SecretError::Config)?;
        Ok(Self { client, namespace: namespace.to_owned() })
    }

    /// The Secret of this name, if there is one.
    ///
    /// # Errors
    /// An API server that does not answer, or refuses.
    pub async fn get(&self, name: &str) -> Result<Option<Secret>, SecretError> {
        let what = "reading";
        let (status, body) = self.ask(what, name, Method::GET, &self.path(name), Vec::new()).await?;
        match status {
            StatusCode::OK => Secret::read(name, &body).map(Some).map_err(|why| self.failed(what, name, why)),
            StatusCode::NOT_FOUND => Ok(None),
            other => Err(self.refused(what, name, other, &body)),
        }
    }

    /// Makes a Secret that is not there.
    ///
    /// # Errors
    /// As of [`Self::get`].
    pub async fn create(&self, secret: &Secret) -> Result<Written, SecretError> {
        self.write("making", secret, Method::POST, &self.path("")).await
    }

    /// Puts a Secret in the place of the version that it was read as.
    ///
    /// # Errors
    /// As of [`Self::get`].
    pub async fn replace(&self, secret: &Secret) -> Result<Written, SecretError> {
        self.write("replacing", secret, Method::PUT, &self.path(&secret.name)).await
    }

    async fn write(
        &self,
        what: &'static str,
        secret: &Secret,
        method: Method,
        path: &str,
    ) -> Result<Written, SecretError> {
        let (status, body) = self.ask(what, &secret.name, method, path, secret.body()).await?;
        match status {
            StatusCode::OK | StatusCode::CREATED => Ok(Written::Done),
            // There already, of another version, or gone.
            StatusCode::CONFLICT | StatusCode::NOT_FOUND => Ok(Written::Overtaken),
            other => Err(self.refused(what, &secret.name, other, &body)),
        }
    }

    /// One request and its answer, whole.
    async fn ask(
        &self,
        what: &'static str,
        name: &str,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Vec<u8>), SecretError> {
        let json = "application/json";
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::ACCEPT, json)
            .header(http::header::CONTENT_TYPE, json)
            .body(Body::from(body))
            .map_err(|error| self.failed(what, name, error.to_string()))?;
        let answer = async {
            let response = self.client.send(request).await.map_err(|error| said(&error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
            Ok((status, body.map_err(|error| said(&*error))?.to_bytes().to_vec()))
        };
        match tokio::time::timeout(DEADLINE, answer).await {
            Ok(answered) => answered.map_err(|why: String| self.failed(what, name, why)),
            Err(_) => Err(self.failed(what, name, format!("no answer within {} s", DEADLINE.as_secs()))),
        }
    }

    fn path(&self, name: &str) -> String {
        let separator = if name.is_empty() { "" } else { "/" };
        format!("/api/v1/namespaces/{}/secrets{separator}{name}", self.namespace)
    }

    fn refused(&self, what: &'static str, name: &str, status: StatusCode, body: &[u8]) -> SecretError {
        self.failed(what, name, Fault::of_response(status.as_u16(), None, body).to_string())
    }

    fn failed(&self, what: &'static str, name: &str, why: String) -> SecretError {
        SecretError::Asked { what, namespace: self.namespace.clone(), name: name.to_owned(), why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_ours_stays_as_it_was_found() {
        let found = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "immutable": false,
            "metadata": { "name": "t", "resourceVersion": "41", "annotations": { "theirs": "yes" } },
            "data": { "tls.crt": "b2xk", "theirs": "AP8=" },
        });
        let mut secret = Secret::read("t", found.to_string().as_bytes()).unwrap();
        assert_eq!(secret.data["tls.crt"], b"old");
        assert_eq!(secret.data["theirs"], [0, 255]);
        secret.data.insert("tls.crt".to_owned(), b"new".to_vec());
        let mut want = found;
        want["data"]["tls.crt"] = json!("bmV3");
        assert_eq!(serde_json::from_slice::<Value>(&secret.body()).unwrap(), want);
    }

    #[test]
    fn a_new_one_is_whole() {
        let mut secret = Secret::new("t", "Opaque", &[("app", "outlast")]);
        secret.data.insert("a".to_owned(), b"b".to_vec());
        let want = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": { "name": "t", "labels": { "app": "outlast" } },
            "data": { "a": "Yg==" },
        });
        assert_eq!(serde_json::from_slice::<Value>(&secret.body()).unwrap(), want);
        assert!(secret.has_label("app", "outlast") && !secret.has_label("app", "other"));
        assert!(!format!("{secret:?}").contains("98"), "no value is printed: {secret:?}");
    }

    #[test]
    fn what_is_no_secret_is_said() {
        assert!(Secret::read("t", b"<html>").unwrap_err().contains("expected value"));
        let wrong = Secret::read("t", br#"{"data":{"tls.crt":"*"}}"#).unwrap_err();
        assert!(wrong.starts_with("data tls.crt: "), "{wrong}");
        assert!(Secret::read("t", b"{}").unwrap().data.is_empty(), "one without data is one");
    }
}
