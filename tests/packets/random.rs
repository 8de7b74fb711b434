//! Random bytes, and queries that are broken at random, through gate, plugins and encoder without sockets.

use hickory_proto::rr::RecordType;
use outlast::testkit::client::Query;
use outlast::testkit::fuzz::packet::run as check;
use proptest::prelude::*;

/// A query that a client might send.
fn query() -> impl Strategy<Value = Query> {
    let names = prop_oneof![
        Just("storefront.shop.svc.cluster.local.".to_owned()),
        Just("hErD.shop.svc.cluster.local.".to_owned()),
        Just("_p._tcp.herd.shop.svc.cluster.LOCAL.".to_owned()),
        Just("20.14.96.10.in-addr.arpa.".to_owned()),
        Just(".".to_owned()),
        "[a-z_][a-z0-9_-]{0,20}(\\.[a-z_][a-z0-9_-]{0,20}){0,4}\\.cluster\\.local\\.",
    ];
    let kinds = prop_oneof![
        Just(RecordType::A),
        Just(RecordType::AAAA),
        Just(RecordType::SRV),
        Just(RecordType::SOA),
        Just(RecordType::DS),
        any::<u16>().prop_map(RecordType::from),
    ];
    let options = proptest::collection::vec(
        (
            prop_oneof![Just(3), Just(8), Just(10), Just(12), any::<u16>()],
            proptest::collection::vec(any::<u8>(), 0..40),
        ),
        0..4,
    );
    let edns = proptest::option::of((any::<u16>(), 0..2_u8, any::<bool>(), options));
    (names, kinds, edns, any::<u16>(), prop_oneof![4 => Just(0), 1 => 0..16_u8]).prop_map(
        |(name, kind, edns, id, opcode)| {
            let mut query = Query::new(&name, kind).id(id).opcode(opcode);
            if let Some((size, version, dnssec_ok, options)) = edns {
                query = query.edns(size).edns_version(version);
                if dnssec_ok {
                    query = query.dnssec_ok();
                }
                for (code, data) in options {
                    query = query.option(code, &data);
                }
            }
            query
        },
    )
}

/// One way to break a packet.
#[derive(Clone, Debug)]
enum Mutation {
    Set(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index),
    Truncate(prop::sample::Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => (index(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        // Lengths and pointers.
        2 => (index(), prop_oneof![Just(0), Just(0x3f), Just(0xc0), Just(12)]).prop_map(|(at, b)| Mutation::Set(at, b)),
        1 => (index(), proptest::collection::vec(any::<u8>(), 1..20)).prop_map(|(at, new)| Mutation::Insert(at, new)),
        1 => index().prop_map(Mutation::Remove),
        1 => index().prop_map(Mutation::Truncate),
    ]
}

fn mutate(packet: &mut Vec<u8>, mutation: &Mutation) {
    if packet.is_empty() {
        return;
    }
    match mutation {
        Mutation::Set(at, byte) => *at.get_mut(packet) = *byte,
        Mutation::Insert(at, new) => {
            let at = at.index(packet.len());
            packet.splice(at..at, new.iter().copied());
        }
        Mutation::Remove(at) => {
            packet.remove(at.index(packet.len()));
        }
        Mutation::Truncate(at) => packet.truncate(at.index(packet.len())),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn any_bytes(packet in proptest::collection::vec(any::<u8>(), 0..600)) {
        check(&packet);
    }

    #[test]
    fn any_bytes_behind_a_plausible_header(
        id in any::<u16>(), flags in any::<[u8; 2]>(), records in 0..4_u8,
        body in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let header = [0, 1, 0, 0, 0, records & 1, 0, records >> 1];
        let packet = [&id.to_be_bytes()[..], &[flags[0] & 0x07, flags[1]], &header, &body].concat();
        check(&packet);
    }

    #[test]
    fn whole_queries(query in query()) {
        check(&query.bytes());
    }

    #[test]
    fn broken_queries(
        query in query(), mutations in proptest::collection::vec(mutation(), 1..6),
    ) {
        let mut packet = query.bytes();
        for mutation in &mutations {
            mutate(&mut packet, mutation);
        }
        check(&packet);
    }
}
