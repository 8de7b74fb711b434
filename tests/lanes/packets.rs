//! Random packets: questions about what is there, about what is almost there and about nothing at all; whole packets
//! and broken ones. The same for the same seed.

use outlast::zone::lookup::QueryType;
use outlast::zone::object::Object;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::outside;
use crate::questions::Questions;
use crate::spelling::mix_case;

/// Length of a header, RFC 1035 §4.1.1.
const HEADER: usize = 12;

/// Longest name on the wire, RFC 1035 §2.3.4.
const MAX_NAME: usize = 255;

/// Questions that are remembered to be asked again.
const RECENT: usize = 32;

/// Types that are asked for outside, the usual ones more often: A, AAAA, and then NS, CNAME, SOA, PTR, MX, TXT, SRV, DS,
/// HTTPS, ANY.
const KINDS: [u16; 20] = [1, 1, 1, 1, 1, 28, 28, 28, 15, 16, 2, 5, 6, 12, 15, 16, 33, 43, 65, 255];

/// UDP payload sizes.
const SIZES: [u16; 14] = [0, 7, 300, 511, 512, 513, 600, 700, 1232, 1232, 1232, 1400, 4096, 65_535];

/// EDNS option codes: NSID, DAU, client subnet, EXPIRE, COOKIE, KEEPALIVE, PADDING, EDE, and one that nobody knows.
const OPTIONS: [u16; 9] = [3, 5, 8, 9, 10, 11, 12, 15, 65_001];

/// Where names end that a server has for itself, on the wire.
const SERVER: [&[u8]; 2] = [b"\x04bind\0", b"\x06server\0"];

/// The class that such names are asked for in, RFC 4892 §2.
const CHAOS: u16 = 3;

/// The code of a client subnet, which makes an answer somebody's own.
const CLIENT_SUBNET: u16 = 8;

/// The code of a question for the name server's identifier.
const NSID: u16 = 3;

/// A packet.
pub(crate) struct Packet {
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
    /// Whether it is what a stub resolver may send, and no answer to it is its own.
    pub(crate) plain: bool,
}

/// Makes packets.
pub(crate) struct Packets<'a> {
    /// Decides everything else.
    rng: SmallRng,
    /// Makes questions about the cluster.
    questions: Questions<'a>,
    /// Names that are asked for beside those.
    own: &'a [&'a str],
    /// Questions that were asked lately: names on the wire, and types.
    recent: Vec<(Vec<u8>, u16)>,
}

impl<'a> Packets<'a> {
    /// Packets about a cluster of these objects and, a fifth of them, about `own` names.
    pub(crate) fn new(objects: &'a [Object], own: &'a [&'a str], seed: u64) -> Self {
        let rng = SmallRng::seed_from_u64(seed);
        Self { rng, questions: Questions::new(objects, seed), own, recent: Vec::new() }
    }

    /// The next packet.
    pub(crate) fn next(&mut self) -> Packet {
        let (name, kind) = self.question();
        let mut plain = true;
        let is_about_server = SERVER.iter().any(|zone| name.ends_with(zone));
        let flags = self.flags(&mut plain);
        let mut bytes = self.rng.random::<u16>().to_be_bytes().to_vec();
        bytes.extend(flags);
        bytes.extend([0, 1, 0, 0, 0, 0, 0, 0]);
        bytes.extend(name);
        bytes.extend(kind.to_be_bytes());
        bytes.extend(self.class(is_about_server, &mut plain).to_be_bytes());
        if self.rng.random_ratio(3, 5) {
            bytes[HEADER - 1] = 1;
            self.write_opt(&mut bytes, &mut plain);
        }
        if self.rng.random_ratio(1, 10) {
            plain = false;
            for _ in 0..self.rng.random_range(1..4) {
                self.break_something(&mut bytes);
            }
        }
        Packet { bytes, plain }
    }

    // === Questions ===

    /// A name on the wire, and a type: a new question, or in another letter case one that was asked lately.
    fn question(&mut self) -> (Vec<u8>, u16) {
        if self.rng.random_ratio(2, 5)
            && let Some((name, kind)) = self.recent.choose(&mut self.rng)
        {
            let (mut name, kind) = (name.clone(), *kind);
            if self.rng.random_ratio(1, 3) {
                // Length bytes are below all letters.
                name.iter_mut().filter(|_| self.rng.random_bool(0.5)).for_each(u8::make_ascii_uppercase);
            }
            return (name, kind);
        }
        let (name, mut kind) = self.new_question();
        if self.rng.random_ratio(1, 20) {
            kind = self.rng.random();
        }
        let at = self.rng.random_range(0..RECENT);
        match self.recent.get_mut(at) {
            Some(place) => *place = (name.clone(), kind),
            None => self.recent.push((name.clone(), kind)),
        }
        (name, kind)
    }

    fn new_question(&mut self) -> (Vec<u8>, u16) {
        if !self.own.is_empty() && self.rng.random_ratio(1, 5) {
            let name = self.own.choose(&mut self.rng).expect("there are names");
            return (wire(name), *KINDS.choose(&mut self.rng).expect("there are types"));
        }
        match self.rng.random_range(0..100) {
            0..60 => {
                let (name, kind) = self.questions.ask();
                (wire(&name), number(kind))
            }
            60..90 => {
                let (name, kind) = outside::question(&mut self.rng);
                let name = match self.rng.random_range(0..10) {
                    0..2 => mix_case(name, &mut self.rng),
                    2 => format!("no-{}.{name}", self.rng.random_range(0..20)),
                    _ => name.to_owned(),
                };
                (wire(&name), kind.unwrap_or(*KINDS.choose(&mut self.rng).expect("there are types")))
            }
            _ => (self.odd_name(), *KINDS.choose(&mut self.rng).expect("there are types")),
        }
    }

    /// A name that nobody has: of any bytes, and as long as they come.
    fn odd_name(&mut self) -> Vec<u8> {
        let zones = ["cluster.local.", "svc.cluster.local.", "in-addr.arpa.", "ip6.arpa.", "example.", "."];
        let zone = wire(zones.choose(&mut self.rng).expect("there are zones"));
        let mut name = Vec::new();
        let most = self.rng.random_range(0..=MAX_NAME + 2 - zone.len());
        for _ in 0..self.rng.random_range(0..128) {
            let length = match self.rng.random_range(0..4) {
                0 => self.rng.random_range(1..=63),
                _ => self.rng.random_range(1..=8),
            };
            if name.len() + 1 + length > most {
                break;
            }
            name.push(length as u8);
            let printable = self.rng.random_bool(0.5);
            for _ in 0..length {
                let byte = self.rng.random();
                name.push(if printable { b"abcXYZ019-_*"[usize::from(byte) % 12] } else { byte });
            }
        }
        name.extend(zone);
        name
    }

    fn class(&mut self, is_about_server: bool, plain: &mut bool) -> u16 {
        if is_about_server && self.rng.random_bool(0.5) {
            *plain = false;
            return CHAOS;
        }
        if !self.rng.random_ratio(1, 50) {
            return 1;
        }
        *plain = false;
        *[3, 4, 254, 255, 0].choose(&mut self.rng).expect("there are classes")
    }

    /// The third and fourth byte of the header.
    fn flags(&mut self, plain: &mut bool) -> [u8; 2] {
        match self.rng.random_range(0..20) {
            0..14 => [1, 0],
            // RD, AD and CD in any combination.
            14..19 => [self.rng.random_range(0..2), self.rng.random_range(0..4) << 4],
            _ => {
                *plain = false;
                self.rng.random()
            }
        }
    }

    // === EDNS ===

    /// An OPT record (RFC 6891 §6.1.2).
    fn write_opt(&mut self, bytes: &mut Vec<u8>, plain: &mut bool) {
        let size = *SIZES.choose(&mut self.rng).expect("there are sizes");
        let dnssec_ok = u8::from(self.rng.random_ratio(1, 5)) << 7;
        let [mut high, mut version, mut flags] = [0, 0, 0];
        if self.rng.random_ratio(1, 30) {
            *plain = false;
            let field = [&mut high, &mut version, &mut flags].into_iter().nth(self.rng.random_range(0..3));
            *field.expect("one of three") = self.rng.random_range(1..=255);
        }
        let mut options = Vec::new();
        while self.rng.random_ratio(1, 3) {
            self.write_option(&mut options, plain);
        }
        bytes.extend([0, 0, 41]);
        bytes.extend(size.to_be_bytes());
        bytes.extend([high, version, dnssec_ok, flags]);
        bytes.extend((options.len() as u16).to_be_bytes());
        bytes.extend(options);
    }

    /// An option: as it is meant, of any bytes, or longer than it is.
    fn write_option(&mut self, options: &mut Vec<u8>, plain: &mut bool) {
        let code = *OPTIONS.choose(&mut self.rng).expect("there are options");
        *plain &= ![CLIENT_SUBNET, NSID].contains(&code);
        let data: Vec<u8> = match (code, self.rng.random_range(0..3)) {
            (CLIENT_SUBNET, 0..2) => vec![0, 1, 24, 0, 192, 0, 2],
            (NSID, _) | (_, 0) => Vec::new(),
            // A cookie of client and server, padding to a block.
            (10, 1) => vec![7; 24],
            (12, 1) => vec![0; self.rng.random_range(0..468)],
            _ => (0..self.rng.random_range(0..40)).map(|_| self.rng.random()).collect(),
        };
        options.extend(code.to_be_bytes());
        let mut length = data.len() as u16;
        if self.rng.random_ratio(1, 40) {
            *plain = false;
            length = length.wrapping_add(self.rng.random_range(1..4));
        }
        options.extend(length.to_be_bytes());
        options.extend(data);
    }

    // === What goes wrong ===

    fn break_something(&mut self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let at = self.rng.random_range(0..bytes.len());
        match self.rng.random_range(0..8) {
            0..3 => bytes[at] = self.rng.random(),
            // Lengths and pointers.
            3 => bytes[at] = *[0, 0x3f, 0x40, 0xc0, 12].choose(&mut self.rng).expect("there are bytes"),
            // The counts of records.
            4 => bytes[(4 + at % 8).min(at)] = self.rng.random_range(0..3),
            5 => bytes.insert(at, self.rng.random()),
            6 => drop(bytes.remove(at)),
            _ if self.rng.random_bool(0.5) => bytes.truncate(at),
            // Another record, or a piece of one.
            _ => {
                let from = bytes.split_off(at);
                bytes.extend_from_slice(&from);
                bytes.extend(from);
            }
        }
    }
}

/// A name on the wire. No escapes: the names of the generators have none.
fn wire(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// The number of a type; for any other that of HINFO, RFC 1035 §3.2.2.
const fn number(kind: QueryType) -> u16 {
    match kind {
        QueryType::A => 1,
        QueryType::Ns => 2,
        QueryType::Cname => 5,
        QueryType::Soa => 6,
        QueryType::Ptr => 12,
        QueryType::Txt => 16,
        QueryType::Aaaa => 28,
        QueryType::Srv => 33,
        QueryType::Transfer => 252,
        QueryType::Other => 13,
    }
}
