//! A persistent hash trie: the index under every map of a [`Table`](super::table::Table).
//!
//! Why our own: a change must cost the same at a million endpoints as at a thousand, an old generation must
//! stay valid while readers hold it, a lookup must borrow its key from the packet (no owned key, no
//! allocation), one hash may lead to several items (an address that belongs to several services), and the
//! index must cost few bytes an item. General-purpose persistent maps give the first two.
//!
//! Form: a compressed trie over the 64-bit hash of an item, five bits a level from the top, nodes exactly as
//! large as what they hold. Items whose whole hash is equal share a bucket, at whatever depth they meet.
//! The items themselves know their hash; equality is the caller's, because the key is a part of the item.
//!
//! Invariants:
//! * A node that more than one trie can reach is never changed (`Arc::make_mut` copies it first).
//! * Canonical form: below the root no node holds fewer than two items in all, and no branch leads to a single
//!   bucket; so the shape depends on the content alone, not on its history.

mod diff;

use std::sync::Arc;

/// Something that a [`Trie`] holds; cheap to clone (an `Arc`, a few words).
pub(crate) trait Item: Clone {
    /// The hash of its key; must not change while it is in a trie.
    fn hash(&self) -> u64;
}

/// Bits of the hash that one level decides by.
const BITS: u32 = 5;

/// A persistent set of items.
#[derive(Clone, Debug)]
pub(crate) struct Trie<T> {
    /// The top branch.
    root: Arc<Node<T>>,
    /// How many items there are.
    len: usize,
}

/// A node of the trie.
#[derive(Clone, Debug)]
enum Node<T> {
    /// Decides by five bits of the hash.
    Branch {
        /// Which of the 32 ways lead to an item.
        item_map: u32,
        /// Which lead to another node; disjoint from `item_map`.
        node_map: u32,
        /// The items, in the order of their ways.
        items: Vec<T>,
        /// The nodes, in the order of their ways.
        nodes: Vec<Arc<Node<T>>>,
    },
    /// Two or more items of equal hash.
    Bucket {
        /// The hash that they share.
        hash: u64,
        /// The items, in no order.
        items: Vec<T>,
    },
}

/// The way that `hash` takes at `level`, as a bit.
const fn way(hash: u64, level: u32) -> u32 {
    // The 13th level has four bits left. Equal hashes never get there: they share a bucket before.
    let shift = if level >= 12 { 0 } else { 64 - BITS * (level + 1) };
    1 << ((hash >> shift) & 31)
}

/// Where the way `bit` stands among those in `map`.
const fn rank(map: u32, bit: u32) -> usize {
    (map & (bit - 1)).count_ones() as usize
}

fn insert_exact<T>(list: &mut Vec<T>, at: usize, value: T) {
    list.reserve_exact(1);
    list.insert(at, value);
}

fn remove_exact<T>(list: &mut Vec<T>, at: usize) -> T {
    let gone = list.remove(at);
    list.shrink_to_fit();
    gone
}

impl<T> Node<T> {
    const fn empty() -> Self {
        Self::Branch { item_map: 0, node_map: 0, items: Vec::new(), nodes: Vec::new() }
    }
}

impl<T: Item> Default for Trie<T> {
    fn default() -> Self {
        Self { root: Arc::new(Node::empty()), len: 0 }
    }
}

impl<T: Item> Trie<T> {
    /// The trie of these items, which come with their hashes and sorted by them: every node is made once, as
    /// large as it has to be.
    pub(crate) fn from_sorted(items: &[(u64, T)]) -> Self {
        Self { root: Arc::new(branch(items, 0)), len: items.len() }
    }

    /// How many items there are.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// The first item of this hash for which `is` holds; it must hold for nothing of another hash.
    pub(crate) fn get(&self, hash: u64, is: impl Fn(&T) -> bool) -> Option<&T> {
        self.candidates(hash).iter().find(|item| is(item))
    }

    /// Every item of this hash. Different keys may share a hash: the caller compares.
    pub(crate) fn all(&self, hash: u64) -> impl Iterator<Item = &T> {
        self.candidates(hash).iter().filter(move |item| item.hash() == hash)
    }

    /// All items of this hash, or the one in whose place they would be: making sure costs as much as comparing keys.
    fn candidates(&self, hash: u64) -> &[T] {
        let mut node = &*self.root;
        let mut level = 0;
        loop {
            match node {
                Node::Bucket { hash: h, items } if *h == hash => return items,
                Node::Bucket { .. } => return &[],
                Node::Branch { item_map, node_map, items, nodes } => {
                    let bit = way(hash, level);
                    if node_map & bit != 0 {
                        node = &nodes[rank(*node_map, bit)];
                        level += 1;
                    } else if item_map & bit != 0 {
                        return std::slice::from_ref(&items[rank(*item_map, bit)]);
                    } else {
                        return &[];
                    }
                }
            }
        }
    }

    /// Puts `item` in the place of the one for which `is` holds, or adds it. Returns the one replaced.
    pub(crate) fn insert(&mut self, item: T, is: impl Fn(&T) -> bool) -> Option<T> {
        let old = insert(&mut self.root, 0, item.hash(), item, &is);
        self.len += usize::from(old.is_none());
        old
    }

    /// Takes out the item of this hash for which `is` holds.
    pub(crate) fn remove(&mut self, hash: u64, is: impl Fn(&T) -> bool) -> Option<T> {
        // Looked for first, so that nothing is copied when it is not there.
        self.get(hash, &is)?;
        let gone = remove(&mut self.root, 0, hash, &is);
        self.len -= usize::from(gone.is_some());
        gone
    }

    /// Every item, in no useful order.
    pub(crate) fn iter(&self) -> Iter<'_, T> {
        Iter { items: [].iter(), pending: vec![&self.root] }
    }
}

/// The branch at `level` over items sorted by hash, which take the same way down to there.
fn branch<T: Item>(items: &[(u64, T)], level: u32) -> Node<T> {
    let same_way = |a: &(u64, T), b: &(u64, T)| way(a.0, level) == way(b.0, level);
    let (mut item_map, mut node_map) = (0, 0);
    for group in items.chunk_by(same_way) {
        let map = if group.len() == 1 { &mut item_map } else { &mut node_map };
        *map |= way(group[0].0, level);
    }
    let count = |map: u32| map.count_ones() as usize;
    let (mut own, mut nodes) = (Vec::with_capacity(count(item_map)), Vec::with_capacity(count(node_map)));
    for group in items.chunk_by(same_way) {
        match group {
            [(_, item)] => own.push(item.clone()),
            // Canonical form: what shares its whole hash is a bucket, at whatever depth.
            [(first, _), .., (last, _)] if first == last => {
                let items = group.iter().map(|(_, item)| item.clone()).collect();
                nodes.push(Arc::new(Node::Bucket { hash: *first, items }));
            }
            _ => nodes.push(Arc::new(branch(group, level + 1))),
        }
    }
    Node::Branch { item_map, node_map, items: own, nodes }
}

fn insert<T: Item>(
    node: &mut Arc<Node<T>>,
    level: u32,
    hash: u64,
    item: T,
    is: &impl Fn(&T) -> bool,
) -> Option<T> {
    // A bucket of another hash moves one level down and makes room for a branch.
    if let Node::Bucket { hash: theirs, .. } = &**node
        && *theirs != hash
    {
        let below = node.clone();
        let bit = way(*theirs, level);
        *node = Arc::new(Node::Branch { item_map: 0, node_map: bit, items: Vec::new(), nodes: vec![below] });
    }
    // Invariant: shared nodes are copied, never changed.
    match Arc::make_mut(node) {
        Node::Bucket { items, .. } => match items.iter_mut().find(|i| is(i)) {
            Some(place) => Some(std::mem::replace(place, item)),
            None => {
                let end = items.len();
                insert_exact(items, end, item);
                None
            }
        },
        Node::Branch { item_map, node_map, items, nodes } => {
            let bit = way(hash, level);
            if *node_map & bit != 0 {
                return insert(&mut nodes[rank(*node_map, bit)], level + 1, hash, item, is);
            }
            let at = rank(*item_map, bit);
            if *item_map & bit == 0 {
                insert_exact(items, at, item);
                *item_map |= bit;
                return None;
            }
            let present = items[at].hash();
            if present == hash && is(&items[at]) {
                return Some(std::mem::replace(&mut items[at], item));
            }
            // Two different items on one way: a bucket if the hashes are equal, else a branch below.
            let other = remove_exact(items, at);
            *item_map &= !bit;
            let child = if present == hash {
                Node::Bucket { hash, items: vec![other, item] }
            } else {
                split(level + 1, other, item)
            };
            insert_exact(nodes, rank(*node_map, bit), Arc::new(child));
            *node_map |= bit;
            None
        }
    }
}

/// The smallest subtree at `level` that holds two items of different hash.
fn split<T: Item>(level: u32, a: T, b: T) -> Node<T> {
    let (way_a, way_b) = (way(a.hash(), level), way(b.hash(), level));
    if way_a == way_b {
        let below = Arc::new(split(level + 1, a, b));
        return Node::Branch { item_map: 0, node_map: way_a, items: Vec::new(), nodes: vec![below] };
    }
    let items = if way_a < way_b { vec![a, b] } else { vec![b, a] };
    Node::Branch { item_map: way_a | way_b, node_map: 0, items, nodes: Vec::new() }
}

fn remove<T: Item>(node: &mut Arc<Node<T>>, level: u32, hash: u64, is: &impl Fn(&T) -> bool) -> Option<T> {
    match Arc::make_mut(node) {
        Node::Bucket { items, .. } => {
            let at = items.iter().position(is)?;
            Some(remove_exact(items, at))
        }
        Node::Branch { item_map, node_map, items, nodes } => {
            let bit = way(hash, level);
            if *item_map & bit != 0 {
                let at = rank(*item_map, bit);
                if items[at].hash() != hash || !is(&items[at]) {
                    return None;
                }
                *item_map &= !bit;
                return Some(remove_exact(items, at));
            }
            if *node_map & bit == 0 {
                return None;
            }
            let at = rank(*node_map, bit);
            let gone = remove(&mut nodes[at], level + 1, hash, is)?;
            // Canonical form: a child that has become too small for a node of its own moves up into this one.
            match lift(&nodes[at]) {
                Lift::Stay => {}
                Lift::Bucket(bucket) => nodes[at] = bucket,
                Lift::Item(last) => {
                    remove_exact(nodes, at);
                    *node_map &= !bit;
                    insert_exact(items, rank(*item_map, bit), last);
                    *item_map |= bit;
                }
            }
            Some(gone)
        }
    }
}

/// What becomes of a node after something was taken out of it.
enum Lift<T> {
    /// It stays as it is.
    Stay,
    /// It is only the way to this bucket, which takes its place.
    Bucket(Arc<Node<T>>),
    /// It holds only this item.
    Item(T),
}

fn lift<T: Item>(node: &Node<T>) -> Lift<T> {
    let (items, nodes) = match node {
        Node::Branch { items, nodes, .. } => (items, nodes.as_slice()),
        Node::Bucket { items, .. } => (items, [].as_slice()),
    };
    match (items.as_slice(), nodes) {
        ([item], []) => Lift::Item(item.clone()),
        ([], [below]) if matches!(**below, Node::Bucket { .. }) => Lift::Bucket(below.clone()),
        _ => Lift::Stay,
    }
}

/// See [`Trie::iter`].
pub(crate) struct Iter<'a, T> {
    /// What is left of the node at hand.
    items: std::slice::Iter<'a, T>,
    /// Nodes not yet entered.
    pending: Vec<&'a Arc<Node<T>>>,
}

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        loop {
            if let Some(item) = self.items.next() {
                return Some(item);
            }
            match &**self.pending.pop()? {
                Node::Bucket { items, .. } => self.items = items.iter(),
                Node::Branch { items, nodes, .. } => {
                    self.items = items.iter();
                    self.pending.extend(nodes);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// A key, a value, and a hash made to collide: whole, in its first bits, or not at all.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Pair {
        key: u16,
        value: u32,
    }

    impl Item for Pair {
        fn hash(&self) -> u64 {
            hash(self.key)
        }
    }

    fn hash(key: u16) -> u64 {
        match key % 4 {
            0 => 7,                                              // one bucket for all of these
            1 => u64::from(key) << 1,                            // differ only in the last bits
            2 => 0xffff_ffff_ffff_0000 | u64::from(key),         // a long common beginning
            _ => xxhash_rust::xxh3::xxh3_64(&key.to_le_bytes()), // as in life
        }
    }

    fn check(trie: &Trie<Pair>, model: &BTreeMap<u16, u32>) {
        assert_eq!(trie.len(), model.len());
        let mut all: Vec<_> = trie.iter().map(|p| (p.key, p.value)).collect();
        all.sort_unstable();
        assert_eq!(all, model.iter().map(|(k, v)| (*k, *v)).collect::<Vec<_>>());
        for (key, value) in model {
            assert_eq!(trie.get(hash(*key), |p| p.key == *key).map(|p| p.value), Some(*value));
        }
    }

    fn canonical<T: Item>(node: &Node<T>, root: bool) -> usize {
        match node {
            Node::Bucket { hash, items } => {
                assert!(items.len() >= 2 && items.iter().all(|i| i.hash() == *hash));
                items.len()
            }
            Node::Branch { item_map, node_map, items, nodes } => {
                assert_eq!(item_map & node_map, 0);
                assert_eq!(item_map.count_ones() as usize, items.len());
                assert_eq!(node_map.count_ones() as usize, nodes.len());
                let below = nodes.iter().map(|n| canonical(n, false)).sum::<usize>() + items.len();
                assert!(root || below >= 2);
                let only_a_way = items.is_empty() && nodes.len() == 1;
                assert!(root || !only_a_way || matches!(*nodes[0], Node::Branch { .. }));
                below
            }
        }
    }

    proptest! {
        #[test]
        fn behaves_as_a_map_and_old_generations_stay(
            steps in proptest::collection::vec((any::<bool>(), 0u16..64, any::<u32>()), 0..200),
        ) {
            let mut trie = Trie::default();
            let mut model = BTreeMap::new();
            let mut generations = vec![(trie.clone(), model.clone())];
            for (put, key, value) in steps {
                let is = |p: &Pair| p.key == key;
                if put {
                    let old = trie.insert(Pair { key, value }, is).map(|p| p.value);
                    prop_assert_eq!(old, model.insert(key, value));
                } else {
                    let old = trie.remove(hash(key), is).map(|p| p.value);
                    prop_assert_eq!(old, model.remove(&key));
                }
                canonical(&trie.root, true);
                generations.push((trie.clone(), model.clone()));
            }
            for (trie, model) in &generations {
                check(trie, model);
            }
        }
    }

    proptest! {
        #[test]
        fn made_at_once_it_is_the_same_as_made_one_by_one(
            model in proptest::collection::btree_map(0u16..64, any::<u32>(), 0..64),
        ) {
            let mut one_by_one = Trie::default();
            let mut items = Vec::new();
            for (&key, &value) in &model {
                one_by_one.insert(Pair { key, value }, |p| p.key == key);
                items.push((hash(key), Pair { key, value }));
            }
            items.sort_by_key(|(hash, _)| *hash);
            let at_once = Trie::from_sorted(&items);
            canonical(&at_once.root, true);
            check(&at_once, &model);
            prop_assert_eq!(shape(&at_once.root), shape(&one_by_one.root));
        }
    }

    proptest! {
        #[test]
        fn differences_are_what_differs(
            old in proptest::collection::btree_map(0u16..64, 0u32..4, 0..64),
            steps in proptest::collection::vec((any::<bool>(), 0u16..64, 0u32..4), 0..20),
            fresh in any::<bool>(),
        ) {
            let insert = |trie: &mut Trie<Pair>, key, value| {
                trie.insert(Pair { key, value }, |p| p.key == key);
            };
            let mut before = Trie::default();
            old.iter().for_each(|(key, value)| insert(&mut before, *key, *value));
            let (mut after, mut new) = (before.clone(), old.clone());
            for (put, key, value) in steps {
                if put {
                    insert(&mut after, key, value);
                    new.insert(key, value);
                } else {
                    after.remove(hash(key), |p| p.key == key);
                    new.remove(&key);
                }
            }
            if fresh {
                after = Trie::default();
                new.iter().for_each(|(key, value)| insert(&mut after, *key, *value));
            }
            let mut found = BTreeMap::new();
            before.differences(&after, |a, b| a.key == b.key, |a, b| {
                let key = a.or(b).map(|p| p.key).unwrap();
                if a != b {
                    assert_eq!(found.insert(key, (a.map(|p| p.value), b.map(|p| p.value))), None);
                }
            });
            let want: BTreeMap<_, _> = (0..64)
                .map(|key| (key, (old.get(&key).copied(), new.get(&key).copied())))
                .filter(|(_, (a, b))| a != b)
                .collect();
            prop_assert_eq!(found, want);
        }
    }

    /// Everything that is the same in tries of the same content.
    fn shape(node: &Node<Pair>) -> String {
        match node {
            Node::Bucket { hash, items } => {
                let mut items = items.clone();
                items.sort_unstable_by_key(|p| p.key);
                format!("{hash}{items:?}")
            }
            Node::Branch { item_map, node_map, items, nodes } => {
                let nodes: Vec<_> = nodes.iter().map(|n| shape(n)).collect();
                format!("{item_map}{node_map}{items:?}{nodes:?}")
            }
        }
    }

    #[test]
    fn one_hash_may_lead_to_several_items() {
        let mut trie = Trie::default();
        for key in [0u16, 4, 8] {
            trie.insert(Pair { key, value: 1 }, |p| p.key == key);
        }
        let mut keys: Vec<_> = trie.all(7).map(|p| p.key).collect();
        keys.sort_unstable();
        assert_eq!(keys, [0, 4, 8]);
        assert_eq!(trie.all(8).count(), 0);
    }
}
