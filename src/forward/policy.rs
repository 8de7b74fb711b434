//! In which order the upstreams of one query are tried. Pure: the turn and the randomness come from the caller.

use rand::Rng;
use rand::seq::SliceRandom;

/// Most upstreams of one `forward` (CoreDNS's limit): more would never be reached within a query's time.
pub const MAX_UPSTREAMS: usize = 15;

/// `policy` of the Corefile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// A new permutation for each query.
    #[default]
    Random,
    /// Each query starts one further; behind its start the others follow in the order of the file.
    RoundRobin,
    /// The order of the file.
    Sequential,
}

impl Policy {
    /// The order in which `count` upstreams (at most [`MAX_UPSTREAMS`]) are tried for the query number `turn`.
    pub fn order(self, count: usize, turn: usize, rng: &mut impl Rng) -> Order {
        let mut order = Order::in_file(count);
        match self {
            Self::Random => order.used_mut().shuffle(rng),
            Self::RoundRobin if count > 0 => {
                let start = turn % order.len();
                order.used_mut()[..=start].rotate_right(1);
            }
            Self::RoundRobin | Self::Sequential => {}
        }
        order
    }
}

/// An order of upstreams, by their index in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Indices; those from `count` on are unused.
    indices: [u8; MAX_UPSTREAMS],
    /// How many upstreams there are.
    count: usize,
}

impl Order {
    fn in_file(count: usize) -> Self {
        let mut indices = [0; MAX_UPSTREAMS];
        for (index, slot) in (0..).zip(&mut indices) {
            *slot = index;
        }
        Self { indices, count: count.min(MAX_UPSTREAMS) }
    }

    fn used_mut(&mut self) -> &mut [u8] {
        &mut self.indices[..self.count]
    }

    /// How many upstreams there are.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Those with a smaller key first; among equals the order stays.
    pub fn sort_by_key<K: Ord>(&mut self, mut key: impl FnMut(usize) -> K) {
        self.used_mut().sort_by_cached_key(|&index| key(usize::from(index)));
    }

    /// The upstream that has its turn at the time `turn`; after the last comes the first again. `None` if there is
    /// none.
    pub fn get(&self, turn: usize) -> Option<usize> {
        let place = turn.checked_rem(self.count)?;
        self.indices.get(place).map(|&index| usize::from(index))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    fn turn_by_turn(order: Order, turns: usize) -> Vec<usize> {
        (0..turns).filter_map(|turn| order.get(turn)).collect()
    }

    fn orders(policy: Policy, count: usize, turns: usize) -> Vec<Vec<usize>> {
        let mut rng = SmallRng::seed_from_u64(7);
        (0..turns).map(|turn| turn_by_turn(policy.order(count, turn, &mut rng), count)).collect()
    }

    #[test]
    fn fixed_policies() {
        struct Case {
            name: &'static str,
            policy: Policy,
            count: usize,
            want: Vec<Vec<usize>>,
        }
        let cases = [
            Case {
                name: "sequential never changes",
                policy: Policy::Sequential,
                count: 3,
                want: vec![vec![0, 1, 2], vec![0, 1, 2]],
            },
            Case {
                name: "round robin: a rotating start, then the file's order",
                policy: Policy::RoundRobin,
                count: 3,
                want: vec![vec![0, 1, 2], vec![1, 0, 2], vec![2, 0, 1], vec![0, 1, 2]],
            },
            Case { name: "one upstream", policy: Policy::RoundRobin, count: 1, want: vec![vec![0], vec![0]] },
            Case { name: "none", policy: Policy::RoundRobin, count: 0, want: vec![vec![]] },
        ];
        for case in cases {
            assert_eq!(orders(case.policy, case.count, case.want.len()), case.want, "{}", case.name);
        }
    }

    #[test]
    fn random_gives_every_permutation_and_only_permutations() {
        let orders = orders(Policy::Random, 3, 300);
        for order in &orders {
            assert_eq!(order.iter().collect::<HashSet<_>>().len(), 3, "{order:?}");
        }
        assert_eq!(orders.into_iter().collect::<HashSet<_>>().len(), 6);
    }

    #[test]
    fn what_is_worse_comes_later() {
        let mut order = Policy::Sequential.order(4, 0, &mut SmallRng::seed_from_u64(1));
        order.sort_by_key(|index| index == 0 || index == 2);
        assert_eq!(turn_by_turn(order, 5), [1, 3, 0, 2, 1]);
        let none = Policy::Sequential.order(0, 0, &mut SmallRng::seed_from_u64(1));
        assert_eq!(none.get(3), None);
    }

    #[test]
    fn the_order_wraps() {
        let order = Policy::Sequential.order(2, 0, &mut SmallRng::seed_from_u64(1));
        assert_eq!(turn_by_turn(order, 5), [0, 1, 0, 1, 0]);
    }
}
