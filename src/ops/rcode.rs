//! Response codes as people and CoreDNS's metrics write them.

use std::borrow::Cow;

/// How many numbers, from 0 on, can have a mnemonic here.
pub const COUNT: usize = MNEMONICS.len();

/// By number (IANA, DNS RCODEs); 16 is BADVERS in an OPT record and BADSIG in TSIG, which is not spoken here.
const MNEMONICS: [Option<&str>; 24] = [
    Some("NOERROR"),
    Some("FORMERR"),
    Some("SERVFAIL"),
    Some("NXDOMAIN"),
    Some("NOTIMP"),
    Some("REFUSED"),
    Some("YXDOMAIN"),
    Some("YXRRSET"),
    Some("NXRRSET"),
    Some("NOTAUTH"),
    Some("NOTZONE"),
    Some("DSOTYPENI"),
    None,
    None,
    None,
    None,
    Some("BADVERS"),
    Some("BADKEY"),
    Some("BADTIME"),
    Some("BADMODE"),
    Some("BADNAME"),
    Some("BADALG"),
    Some("BADTRUNC"),
    Some("BADCOOKIE"),
];

/// The mnemonic of an rcode (with its extended bits), if it has one.
pub fn mnemonic(rcode: u16) -> Option<&'static str> {
    MNEMONICS.get(usize::from(rcode)).copied().flatten()
}

/// The mnemonic of an rcode, or `RCODE12` for a number that has none.
pub fn text(rcode: u16) -> Cow<'static, str> {
    mnemonic(rcode).map_or_else(|| format!("RCODE{rcode}").into(), Cow::Borrowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_mnemonics() {
        for (rcode, want) in [
            (0, "NOERROR"),
            (3, "NXDOMAIN"),
            (10, "NOTZONE"),
            (11, "DSOTYPENI"),
            (12, "RCODE12"),
            (15, "RCODE15"),
            (16, "BADVERS"),
            (23, "BADCOOKIE"),
            (24, "RCODE24"),
            (4_095, "RCODE4095"),
        ] {
            assert_eq!(text(rcode), want);
            assert_eq!(mnemonic(rcode).is_none(), want.starts_with("RCODE"), "{want}");
        }
    }
}
