//! `printf`: Go's verbs for texts, numbers and truth values.

use super::value::Value;

/// The largest width and precision: a label has 63 bytes, an IPv6 address 32 digits.
const MAX_WIDTH: usize = 255;

/// Verbs that are known.
const VERBS: &str = "vsqxXdobct";

/// One verb with what stands before it.
#[derive(Debug, Default)]
struct Verb {
    /// `-`
    left: bool,
    /// `0`
    zeros: bool,
    /// `+`
    plus: bool,
    /// The least number of characters.
    width: usize,
    /// The most characters of a text, or the least digits of a number.
    precision: Option<usize>,
    /// The letter.
    letter: char,
}

/// A part of a format.
#[derive(Debug)]
enum Part {
    /// A character as it is.
    Char(char),
    /// A value.
    Verb(Verb),
}

/// Whether a format can be used at all.
pub(super) fn check(format: &str) -> Result<(), String> {
    parts(format).map(drop)
}

/// Fills `values` into `format`; each verb takes one.
pub(super) fn sprintf(format: &str, values: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    let mut values = values.iter();
    for part in parts(format)? {
        match part {
            Part::Char(c) => out.push(c),
            Part::Verb(verb) => {
                let value = values.next().ok_or_else(|| format!("printf: no value for %{}", verb.letter))?;
                out.push_str(&verb.print(value)?);
            }
        }
    }
    match values.next() {
        None => Ok(out),
        Some(_) => Err("printf: more values than verbs".to_owned()),
    }
}

fn parts(format: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            parts.push(Part::Char(c));
            continue;
        }
        let mut verb = Verb::default();
        while let Some(flag) = chars.next_if(|c| matches!(c, '-' | '0' | '+')) {
            match flag {
                '-' => verb.left = true,
                '0' => verb.zeros = true,
                _ => verb.plus = true,
            }
        }
        let mut number = || -> Result<Option<usize>, String> {
            let mut number = None;
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                let digit = digit.to_digit(10).map_or(0, |d| d as usize);
                let next = number.unwrap_or(0) * 10 + digit;
                if next > MAX_WIDTH {
                    return Err(format!("printf: a width is at most {MAX_WIDTH}"));
                }
                number = Some(next);
            }
            Ok(number)
        };
        verb.width = number()?.unwrap_or(0);
        if chars.next_if_eq(&'.').is_some() {
            let mut precision = 0;
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                precision = precision * 10 + digit.to_digit(10).map_or(0, |d| d as usize);
                if precision > MAX_WIDTH {
                    return Err(format!("printf: a precision is at most {MAX_WIDTH}"));
                }
            }
            verb.precision = Some(precision);
        }
        match chars.next() {
            Some('%') => parts.push(Part::Char('%')),
            Some(letter) if VERBS.contains(letter) => {
                verb.letter = letter;
                parts.push(Part::Verb(verb));
            }
            Some(other) => return Err(format!("printf: %{other} is not supported; known are: {VERBS}")),
            None => return Err("printf: the format ends within a verb".to_owned()),
        }
    }
    Ok(parts)
}

impl Verb {
    fn print(&self, value: &Value) -> Result<String, String> {
        let wrong = || Err(format!("printf: %{} does not print {}", self.letter, value.kind()));
        let text = match (self.letter, value) {
            ('v', Value::Struct(_) | Value::Lookup(_)) => return wrong(),
            ('v' | 'd', Value::Int(_) | Value::Uint(_)) => return Ok(self.number(value, 10, false)),
            ('x', Value::Int(_) | Value::Uint(_)) => return Ok(self.number(value, 16, false)),
            ('X', Value::Int(_) | Value::Uint(_)) => return Ok(self.number(value, 16, true)),
            ('o', Value::Int(_) | Value::Uint(_)) => return Ok(self.number(value, 8, false)),
            ('b', Value::Int(_) | Value::Uint(_)) => return Ok(self.number(value, 2, false)),
            ('s' | 'v', Value::Str(text)) => match self.precision {
                Some(max) => text.chars().take(max).collect(),
                None => text.to_string(),
            },
            ('q', Value::Str(text)) => format!("{text:?}"),
            ('x', Value::Str(text)) => text.bytes().map(|b| format!("{b:02x}")).collect(),
            ('X', Value::Str(text)) => text.bytes().map(|b| format!("{b:02X}")).collect(),
            ('t' | 'v', Value::Bool(value)) => value.to_string(),
            ('c', Value::Int(_) | Value::Uint(_)) => {
                let code = value.number().and_then(|n| u32::try_from(n).ok()).and_then(char::from_u32);
                code.unwrap_or(char::REPLACEMENT_CHARACTER).to_string()
            }
            ('v', other) => other.to_string(),
            _ => return wrong(),
        };
        Ok(self.pad(&text, if self.zeros && !self.left { '0' } else { ' ' }))
    }

    /// A whole number in a base.
    fn number(&self, value: &Value, base: u32, upper: bool) -> String {
        let number = value.number().unwrap_or(0);
        let mut rest = number.unsigned_abs();
        let mut digits = Vec::new();
        while rest > 0 || digits.is_empty() {
            let digit = char::from_digit((rest % u128::from(base)) as u32, base).unwrap_or('0');
            digits.push(if upper { digit.to_ascii_uppercase() } else { digit });
            rest /= u128::from(base);
        }
        let sign = match (number < 0, self.plus) {
            (true, _) => "-",
            (false, true) => "+",
            (false, false) => "",
        };
        // As in Go, zeros fill a width only where no precision says how many digits there are.
        let filled = match self.precision {
            Some(precision) => precision,
            None if self.zeros && !self.left => self.width.saturating_sub(sign.len()),
            None => 0,
        };
        while digits.len() < filled {
            digits.push('0');
        }
        let digits: String = digits.into_iter().rev().collect();
        self.pad(&format!("{sign}{digits}"), ' ')
    }

    fn pad(&self, text: &str, fill: char) -> String {
        let missing = self.width.saturating_sub(text.chars().count());
        let padding: String = std::iter::repeat_n(fill, missing).collect();
        if self.left { format!("{text}{padding}") } else { format!("{padding}{text}") }
    }
}
