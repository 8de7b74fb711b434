//! Lists that are under way: gathered beside the table, several at once as long as no kind is in two of them.

use super::latency::Cause;
use crate::source::Listed;
use crate::zone::Table;
use crate::zone::change::Change;
use crate::zone::object::{Key, Kinds, Object, ObjectRef};
use crate::zone::table::{Effect, Relist};

/// The lists that are under way. Invariant: no kind is in two of them, so there are at most as many as kinds.
#[derive(Debug, Default)]
pub(super) struct Lists(Vec<Under>);

/// A list that is under way.
#[derive(Debug)]
struct Under {
    /// The kinds that are listed together.
    kinds: Kinds,
    /// What has come; `None` if a part of it was lost, so that what is missing does not pass for gone.
    gathered: Option<Gathered>,
}

/// A list, as far as it has come.
#[derive(Debug)]
pub(super) struct Gathered {
    /// What it changes.
    pub(super) relist: Relist,
    /// What set its changes off.
    pub(super) causes: Vec<Cause>,
    /// What a hub says that is held: the object, what the origin says of it, and the hold.
    pub(super) held: Vec<(Key, Option<Object>, u32)>,
}

impl Gathered {
    fn new(kinds: Kinds) -> Self {
        Self { relist: Relist::new(kinds), causes: Vec::new(), held: Vec::new() }
    }
}

impl Lists {
    /// Takes a part of the list of `kinds`, which is to be applied to `table`. A list that was not begun begins; one
    /// of other kinds that shares some of these is forgotten.
    pub(super) fn part(&mut self, kinds: Kinds, entries: Vec<Listed>, table: &Table) {
        let at = self.0.iter().position(|list| list.kinds == kinds).unwrap_or_else(|| {
            self.forget(kinds);
            self.0.push(Under { kinds, gathered: Some(Gathered::new(kinds)) });
            self.0.len() - 1
        });
        // Taken out meanwhile: a list whose part breaks has lost it.
        let Some(mut gathered) = self.0[at].gathered.take() else { return };
        entries.into_iter().for_each(|entry| gathered.take(entry, table));
        self.0[at].gathered = Some(gathered);
    }

    /// The list of `kinds` is complete; `None` if a part of it was lost. Without any part it is empty.
    pub(super) fn end(&mut self, kinds: Kinds) -> Option<Gathered> {
        let list = self.0.iter_mut().find(|list| list.kinds == kinds);
        let gathered = list.map_or_else(|| Some(Gathered::new(kinds)), |list| list.gathered.take());
        self.forget(kinds);
        gathered
    }

    /// The kinds that are in a list under way.
    pub(super) fn kinds(&self) -> Kinds {
        self.0.iter().fold(Kinds::NONE, |kinds, list| kinds.union(list.kinds))
    }

    /// The table that lists under way are to be applied to has changed under these keys, from `old` to `new`.
    pub(super) fn changed<'a>(&mut self, keys: impl IntoIterator<Item = &'a Key>, old: &Table, new: &Table) {
        for key in keys {
            let list = self.0.iter_mut().find(|list| list.kinds.has(key.kind));
            if let Some(gathered) = list.and_then(|list| list.gathered.as_mut()) {
                gathered.relist.changed(key, old, new);
            }
        }
    }

    /// A part of the list of these kinds is lost, as if it had broken.
    #[cfg(test)]
    pub(super) fn lose(&mut self, kinds: Kinds) {
        self.0.iter_mut().filter(|list| list.kinds == kinds).for_each(|list| list.gathered = None);
    }

    /// Forgets every list with any of these kinds.
    pub(super) fn forget(&mut self, kinds: Kinds) {
        self.0.retain(|list| list.kinds.intersection(kinds).is_empty());
    }
}

impl Gathered {
    fn take(&mut self, entry: Listed, table: &Table) {
        let (object, trigger) = match entry {
            Listed::Object { object, trigger } => (object, trigger),
            Listed::Unreadable(key) => return self.relist.keep(&key),
            Listed::Held { change, held } => {
                let received = match change {
                    Change::Upsert(object) => Some(object),
                    Change::Delete(_) => None,
                };
                self.held.push((held.served.key(), received, held.hold));
                (held.served, None)
            }
        };
        let cause = trigger.map(|trigger| Cause::new(ObjectRef::from(&object).parts().0, trigger));
        if self.relist.take(table, object) == Effect::Changed {
            self.causes.extend(cause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::object::{Kind, Namespace};

    const NAMESPACES: Kinds = Kinds::NONE.with(Kind::Namespace);

    fn part(lists: &mut Lists, kinds: Kinds, name: &str) {
        let object = Object::Namespace(Namespace { name: name.into(), labels: [].into() });
        lists.part(kinds, vec![Listed::Object { object, trigger: None }], &Table::default());
    }

    /// The namespaces that a list holds at its end; `-` if it is lost.
    fn end(lists: &mut Lists, kinds: Kinds) -> String {
        let Some(gathered) = lists.end(kinds) else { return "-".to_owned() };
        let mut table = Table::default();
        gathered.relist.finish(&mut table, 1);
        let mut names: Vec<_> = table.objects().map(|o| o.parts().1.to_owned()).collect();
        names.sort();
        names.join(" ")
    }

    #[test]
    fn a_list_holds_its_parts_until_it_ends() {
        let mut lists = Lists::default();
        part(&mut lists, NAMESPACES, "a");
        lists.part(Kinds::NONE.with(Kind::Pod), vec![], &Table::default());
        part(&mut lists, NAMESPACES, "b");
        assert_eq!(end(&mut lists, NAMESPACES), "a b");
        assert_eq!(end(&mut lists, NAMESPACES), "", "the next one begins with nothing");
        assert_eq!(lists.0.len(), 1, "that of other kinds is still under way");
    }

    #[test]
    fn a_list_that_failed_or_was_replaced_is_forgotten() {
        let mut lists = Lists::default();
        part(&mut lists, NAMESPACES, "a");
        lists.forget(NAMESPACES);
        part(&mut lists, NAMESPACES, "b");
        assert_eq!(end(&mut lists, NAMESPACES), "b");
        part(&mut lists, NAMESPACES, "c");
        part(&mut lists, Kinds::CORE, "d");
        assert_eq!(lists.0.len(), 1);
        assert_eq!(end(&mut lists, Kinds::CORE), "d");
    }

    #[test]
    fn a_list_that_lost_a_part_says_so_at_its_end() {
        let mut lists = Lists::default();
        part(&mut lists, NAMESPACES, "a");
        lists.lose(NAMESPACES);
        part(&mut lists, NAMESPACES, "b");
        assert_eq!(end(&mut lists, NAMESPACES), "-");
        part(&mut lists, NAMESPACES, "c");
        assert_eq!(end(&mut lists, NAMESPACES), "c");
    }
}
