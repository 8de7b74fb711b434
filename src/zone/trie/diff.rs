//! What two tries differ in, by what they do not share.

use std::sync::Arc;

use super::{Item, Iter, Node, Trie, rank};

impl<T: Item> Trie<T> {
    /// Calls `each` with everything that this trie and a newer one do not share: an item of the older, of the newer,
    /// or of both, where `is` says that they have the same key. Items of both may still be equal: what is the same is
    /// recognised by its node alone, which is all that keeps the cost to what changed.
    ///
    /// Returns how many nodes were looked into.
    pub(crate) fn differences<'a>(
        &'a self,
        newer: &'a Self,
        is: impl Fn(&T, &T) -> bool,
        mut each: impl FnMut(Option<&'a T>, Option<&'a T>),
    ) -> usize {
        let mut work = vec![(Place::Node(&self.root), Place::Node(&newer.root))];
        let mut visited = 0;
        while let Some((old, new)) = work.pop() {
            match (old, new) {
                (Place::Node(old), Place::Node(new)) if Arc::ptr_eq(old, new) => continue,
                (Place::Node(a), Place::Node(b)) => {
                    visited += 2;
                    if let Some(ways) = ways(a, b) {
                        work.extend(ways);
                        continue;
                    }
                }
                _ => visited += 1,
            }
            // One of the two is not a branch, and so has few items: each item of the other is looked for there.
            match (old.few(), new.few()) {
                (Some(few), _) => visited += against(few, new, &is, &mut each),
                (None, Some(few)) => visited += against(few, old, &is, |few, other| each(other, few)),
                (None, None) => {}
            }
        }
        visited
    }
}

/// What stands at one way of a branch.
enum Place<'a, T> {
    /// Nothing.
    Empty,
    /// A single item.
    Item(&'a T),
    /// Several.
    Node(&'a Arc<Node<T>>),
}

impl<T> Clone for Place<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

// Not derived: that would ask it of the item, too.
impl<T> Copy for Place<'_, T> {}

impl<'a, T> Place<'a, T> {
    /// Its items, unless it is a branch.
    fn few(self) -> Option<&'a [T]> {
        match self {
            Self::Empty => Some(&[]),
            Self::Item(item) => Some(std::slice::from_ref(item)),
            Self::Node(node) => match &**node {
                Node::Bucket { items, .. } => Some(items),
                Node::Branch { .. } => None,
            },
        }
    }

    /// What a branch has at `bit`.
    fn at(node: &'a Node<T>, bit: u32) -> Self {
        match node {
            Node::Branch { item_map, items, .. } if item_map & bit != 0 => {
                Self::Item(&items[rank(*item_map, bit)])
            }
            Node::Branch { node_map, nodes, .. } if node_map & bit != 0 => {
                Self::Node(&nodes[rank(*node_map, bit)])
            }
            _ => Self::Empty,
        }
    }
}

/// Pairs of what two branches have at each of their ways; `None` unless both are branches.
fn ways<'a, T>(a: &'a Node<T>, b: &'a Node<T>) -> Option<impl Iterator<Item = (Place<'a, T>, Place<'a, T>)>> {
    let map = |node: &Node<T>| match node {
        Node::Branch { item_map, node_map, .. } => Some(item_map | node_map),
        Node::Bucket { .. } => None,
    };
    let taken = map(a)? | map(b)?;
    let bits = (0..u32::BITS).map(|i| 1 << i).filter(move |bit| taken & bit != 0);
    Some(bits.map(move |bit| (Place::at(a, bit), Place::at(b, bit))))
}

/// Calls `each` with the items of `few` and of `other`, as pairs where their keys are the same. Returns how many
/// nodes were looked into.
fn against<'a, T: Item>(
    few: &'a [T],
    other: Place<'a, T>,
    is: &impl Fn(&T, &T) -> bool,
    mut each: impl FnMut(Option<&'a T>, Option<&'a T>),
) -> usize {
    // More than one only where whole hashes collide.
    let mut met = vec![false; few.len()];
    let mut meet = |item: &'a T| {
        let same = |x: &T| x.hash() == item.hash() && is(x, item);
        let at = few.iter().position(same);
        if let Some(at) = at {
            met[at] = true;
        }
        each(at.map(|at| &few[at]), Some(item));
    };
    let mut visited = 0;
    match other {
        Place::Empty => {}
        Place::Item(item) => meet(item),
        Place::Node(node) => {
            let mut all = Iter { items: [].iter(), pending: vec![node] };
            all.by_ref().for_each(|item| {
                visited += 1;
                meet(item);
            });
        }
    }
    few.iter().zip(&met).filter(|(_, met)| !**met).for_each(|(item, _)| each(Some(item), None));
    visited
}
