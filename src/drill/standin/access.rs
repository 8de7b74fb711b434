//! Who may do what: bearer tokens, users, rights. Can be changed while the server runs.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::ids;
use super::requests::Verb;
use crate::zone::object::Kind;

/// The user that [`Standin::kubeconfig`](super::Standin::kubeconfig) is for; may read everything.
pub const USER: &str = "outlast";

/// Who a request without a token comes from.
pub(super) const ANONYMOUS: &str = "system:anonymous";

/// Verbs that rights are about.
const VERBS: [Verb; 3] = [Verb::Get, Verb::List, Verb::Watch];

/// What a user may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// By verb (in the order of [`VERBS`]) and kind.
    allowed: [[bool; Kind::ALL.len()]; VERBS.len()],
}

impl Rights {
    /// Nothing.
    pub const NONE: Self = Self { allowed: [[false; Kind::ALL.len()]; VERBS.len()] };
    /// To get, list and watch all four kinds.
    pub const READ_ALL: Self = Self { allowed: [[true; Kind::ALL.len()]; VERBS.len()] };

    /// These rights and one more.
    #[must_use]
    pub fn allow(self, verb: Verb, kind: Kind) -> Self {
        self.with(verb, kind, true)
    }

    /// These rights without one.
    #[must_use]
    pub fn deny(self, verb: Verb, kind: Kind) -> Self {
        self.with(verb, kind, false)
    }

    fn with(mut self, verb: Verb, kind: Kind, allowed: bool) -> Self {
        for (row, _) in self.allowed.iter_mut().zip(VERBS).filter(|(_, v)| *v == verb) {
            row[kind.index()] = allowed;
        }
        self
    }

    /// Whether they include this.
    pub fn has(&self, verb: Verb, kind: Kind) -> bool {
        self.allowed.iter().zip(VERBS).any(|(row, v)| v == verb && row[kind.index()])
    }
}

/// One user.
struct User {
    /// Its bearer token; `None` once it is revoked.
    token: Option<String>,
    /// What it may do.
    rights: Rights,
}

/// Tokens, users, rights.
pub struct Access {
    /// By name.
    users: Mutex<BTreeMap<String, User>>,
}

/// What a token says of who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// A user.
    User(String),
    /// There was no token.
    Anonymous,
    /// The token is nobody's.
    Unknown,
}

impl Who {
    /// The user's name.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::User(name) => name,
            Self::Anonymous | Self::Unknown => ANONYMOUS,
        }
    }
}

impl Access {
    /// With [`USER`], who may read everything, and `nobody`, who may not do anything.
    pub(super) fn new() -> Self {
        let access = Self { users: Mutex::default() };
        access.set_user(USER, Rights::READ_ALL);
        access.set_user("nobody", Rights::NONE);
        access
    }

    /// Adds a user with a new token, or changes the rights of one that is there and keeps its token. Returns the
    /// token.
    pub fn set_user(&self, name: &str, rights: Rights) -> String {
        let mut users = self.lock();
        let user = users.entry(name.to_owned()).or_insert_with(|| User { token: None, rights });
        user.rights = rights;
        user.token.get_or_insert_with(ids::token).clone()
    }

    /// Gives a user this token and takes away the one it had. `false` if there is no such user.
    pub fn set_token(&self, name: &str, token: &str) -> bool {
        self.lock().get_mut(name).map(|user| user.token = Some(token.to_owned())).is_some()
    }

    /// Gives a user a new token and takes away the one it had. `None` if there is no such user.
    pub fn renew_token(&self, name: &str) -> Option<String> {
        let token = ids::token();
        self.set_token(name, &token).then_some(token)
    }

    /// Takes a user's token away: whoever has it gets 401. Open watches go on. `false` if there is no such user.
    pub fn revoke(&self, name: &str) -> bool {
        self.lock().get_mut(name).map(|user| user.token = None).is_some()
    }

    /// A user's token; `None` if there is no such user or the token was revoked.
    pub fn token(&self, name: &str) -> Option<String> {
        self.lock().get(name).and_then(|user| user.token.clone())
    }

    /// Who has sent this `Authorization` header.
    pub(super) fn authenticate(&self, authorization: Option<&str>) -> Who {
        let Some(header) = authorization else { return Who::Anonymous };
        let Some(token) = header.strip_prefix("Bearer ").map(str::trim) else { return Who::Anonymous };
        let users = self.lock();
        let found = users.iter().find(|(_, user)| user.token.as_deref() == Some(token));
        found.map_or(Who::Unknown, |(name, _)| Who::User(name.clone()))
    }

    /// Whether who asks may do this.
    pub(super) fn authorize(&self, who: &Who, verb: Verb, kind: Kind) -> bool {
        matches!(who, Who::User(name) if self.lock().get(name).is_some_and(|user| user.rights.has(verb, kind)))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, User>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_name_users_until_they_are_revoked() {
        let access = Access::new();
        let token = format!("Bearer {}", access.token(USER).unwrap());
        assert_eq!(access.authenticate(Some(&token)), Who::User(USER.to_owned()));
        assert_eq!(access.authenticate(Some("Bearer wrong")), Who::Unknown);
        assert_eq!(access.authenticate(None), Who::Anonymous);
        assert!(access.revoke(USER));
        assert_eq!(access.authenticate(Some(&token)), Who::Unknown);
        assert!(access.set_token(USER, "fresh"));
        assert_eq!(access.authenticate(Some("Bearer fresh")), Who::User(USER.to_owned()));
    }

    #[test]
    fn rights_are_by_verb_and_kind() {
        let access = Access::new();
        access.set_user("half", Rights::READ_ALL.deny(Verb::Watch, Kind::Pod));
        let half = Who::User("half".to_owned());
        assert!(access.authorize(&half, Verb::List, Kind::Pod));
        assert!(!access.authorize(&half, Verb::Watch, Kind::Pod));
        assert!(!access.authorize(&Who::User("nobody".to_owned()), Verb::Get, Kind::Service));
        assert!(!access.authorize(&Who::Anonymous, Verb::Get, Kind::Service));
    }
}
