//! Go's grammar: what it takes, what it refuses, and how it says so.

use regex_syntax::hir::{Class, Hir, Look, Repetition};

use super::DEPTH_MAX;
use super::class::{self, Set};
use super::tree::{Flags, Frame, Item};
use super::unicode;

/// A parsed expression.
pub(super) struct Parsed {
    pub(super) tree: Hir,
    /// Names by group; the first is the whole match.
    pub(super) names: Vec<Option<Box<str>>>,
}

struct Parser<'a> {
    whole: &'a str,
    rest: &'a str,
    flags: Flags,
    /// Open groups; the first is the whole expression.
    frames: Vec<Frame>,
    names: Vec<Option<Box<str>>>,
    /// Where the repetition operator stands that was read just before, if one was: operators do not stack.
    last_repeat: Option<&'a str>,
}

/// Copies of one thing that counted repetitions may ask for, nested ones multiplied.
const COPIES_MAX: u64 = 1000;

/// Stands for a count that is too large to matter.
const HUGE: u64 = 100_000_000;

pub(super) fn parse(pattern: &str) -> Result<Parsed, String> {
    let mut parser = Parser {
        whole: pattern,
        rest: pattern,
        flags: Flags::default(),
        frames: vec![Frame::new(Flags::default(), None)],
        names: vec![None],
        last_repeat: None,
    };
    while let Some(next) = parser.rest.chars().next() {
        let before = parser.rest;
        let repeated = parser.step(next)?;
        parser.last_repeat = repeated.then_some(before);
    }
    if parser.frames.len() > 1 {
        return Err(refusal("missing closing )", pattern));
    }
    let whole = parser.frames.pop().expect("the first frame is never closed").finish();
    parser.check(&whole)?;
    Ok(Parsed { tree: whole.tree, names: parser.names })
}

fn refusal(what: &str, at: &str) -> String {
    format!("error parsing regexp: {what}: `{at}`")
}

/// The part of `from` before `to`, which is its tail.
fn before<'a>(from: &'a str, to: &str) -> &'a str {
    &from[..from.len() - to.len()]
}

impl<'a> Parser<'a> {
    /// Reads one thing. Gives whether it was a repetition operator.
    fn step(&mut self, next: char) -> Result<bool, String> {
        match next {
            '(' if self.rest.starts_with("(?") => self.open_flagged()?,
            '(' => {
                self.skip(1);
                self.open_capture(None);
            }
            ')' => self.close()?,
            '|' => {
                self.skip(1);
                self.frame().branch();
            }
            '*' => return self.repeat(0, None, 1),
            '+' => return self.repeat(1, None, 1),
            '?' => return self.repeat(0, Some(1), 1),
            '{' => return self.counted(),
            '[' => self.class()?,
            '\\' => self.backslash()?,
            _ => {
                self.skip(next.len_utf8());
                self.plain(next);
            }
        }
        Ok(false)
    }

    /// `^`, `$`, `.` and characters that stand for themselves.
    fn plain(&mut self, c: char) {
        let tree = match (c, self.flags.multiline) {
            ('^', false) => Hir::look(Look::Start),
            ('^', true) => Hir::look(Look::StartLF),
            ('$', false) => Hir::look(Look::End),
            ('$', true) => Hir::look(Look::EndLF),
            ('.', _) => {
                let mut any = Set::all();
                if !self.flags.dot_all {
                    let mut newline = Set::empty();
                    newline.add(0x0a, 0x0a);
                    any = newline.negated();
                }
                Hir::class(Class::Unicode(any.into_class()))
            }
            _ => return self.literal(c as u32),
        };
        self.push(tree);
    }

    fn literal(&mut self, rune: u32) {
        let tree = match char::from_u32(rune) {
            Some(c) if !self.flags.fold => Hir::literal(c.to_string().into_bytes()),
            Some(_) => {
                let mut set = Set::empty();
                set.add(rune, rune);
                Hir::class(Class::Unicode(set.folded().into_class()))
            }
            // A surrogate: never matches.
            None => Hir::fail(),
        };
        self.push(tree);
    }

    fn push(&mut self, tree: Hir) {
        self.frame().sequence.push(Item { tree, depth: 1, copies: 1 });
    }

    fn frame(&mut self) -> &mut Frame {
        self.frames.last_mut().expect("the first frame is never closed")
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }

    fn check(&self, item: &Item) -> Result<(), String> {
        if item.depth > DEPTH_MAX || self.frames.len() > DEPTH_MAX {
            return Err(refusal("expression nests too deeply", self.whole));
        }
        Ok(())
    }

    fn open_capture(&mut self, name: Option<&str>) {
        let index = u32::try_from(self.names.len()).expect("a pattern is shorter than 4 GiB");
        self.names.push(name.map(Into::into));
        let outer = self.flags;
        self.frames.push(Frame::new(outer, Some(index)));
    }

    fn close(&mut self) -> Result<(), String> {
        if self.frames.len() < 2 {
            return Err(refusal("unexpected )", self.whole));
        }
        let frame = self.frames.pop().expect("there are two");
        self.flags = frame.outer;
        let item = frame.finish();
        self.check(&item)?;
        self.frame().sequence.push(item);
        self.skip(1);
        Ok(())
    }

    /// `(?…`: a named group, a group that does not capture, or flags.
    fn open_flagged(&mut self) -> Result<(), String> {
        let start = self.rest;
        let name_at = if start.starts_with("(?P<") && start.len() > 4 {
            Some(4)
        } else if start.starts_with("(?<") && start.len() > 3 {
            Some(3)
        } else {
            None
        };
        let Some(name_at) = name_at else { return self.flags_or_group() };
        let Some(end) = start.find('>') else { return Err(refusal("invalid named capture", start)) };
        let name = start.get(name_at..end).unwrap_or("");
        if name.is_empty() || !name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric()) {
            return Err(refusal("invalid named capture", &start[..=end]));
        }
        self.open_capture(Some(name));
        self.skip(end + 1);
        Ok(())
    }

    fn flags_or_group(&mut self) -> Result<(), String> {
        let start = self.rest;
        let mut flags = self.flags;
        let (mut negative, mut seen) = (false, false);
        let mut letters = start[2..].char_indices();
        let stopped = loop {
            let Some((at, letter)) = letters.next() else { break start.len() };
            let flag = match letter {
                'i' => &mut flags.fold,
                'm' => &mut flags.multiline,
                's' => &mut flags.dot_all,
                'U' => &mut flags.lazy,
                '-' if !negative => {
                    (negative, seen) = (true, false);
                    continue;
                }
                ':' | ')' if !negative || seen => {
                    self.skip(2 + at + 1);
                    if letter == ':' {
                        let outer = self.flags;
                        self.frames.push(Frame::new(outer, None));
                    }
                    self.flags = flags;
                    return Ok(());
                }
                _ => break 2 + at + letter.len_utf8(),
            };
            (*flag, seen) = (!negative, true);
        };
        Err(refusal("invalid or unsupported Perl syntax", &start[..stopped]))
    }

    /// `{2}`, `{2,}`, `{2,5}`; what is none of them is text.
    fn counted(&mut self) -> Result<bool, String> {
        let Some((min, max, length)) = counts(self.rest) else {
            self.skip(1);
            self.literal('{' as u32);
            return Ok(false);
        };
        if min > COPIES_MAX || max.is_some_and(|max| max > COPIES_MAX || min > max) {
            return Err(refusal("invalid repeat count", &self.rest[..length]));
        }
        self.repeat(min, max, length)
    }

    fn repeat(&mut self, min: u64, max: Option<u64>, length: usize) -> Result<bool, String> {
        let start = self.rest;
        let counted = start.starts_with('{');
        self.skip(length);
        let lazy = self.rest.starts_with('?');
        self.skip(usize::from(lazy));
        if let Some(last) = self.last_repeat {
            return Err(refusal("invalid nested repetition operator", before(last, self.rest)));
        }
        let operator = before(start, self.rest);
        let greedy = lazy == self.flags.lazy;
        let Some(item) = self.frame().sequence.pop() else {
            return Err(refusal("missing argument to repetition operator", operator));
        };
        let factor = if counted && max != Some(0) { max.unwrap_or(min).max(1) } else { 1 };
        let copies = if max == Some(0) { 1 } else { item.copies * factor };
        if counted && factor >= 2 && copies > COPIES_MAX {
            return Err(refusal("invalid repeat count", operator));
        }
        let count = |count: u64| u32::try_from(count).expect("counts are at most 1000");
        let repetition = Repetition { min: count(min), max: max.map(count), greedy, sub: Box::new(item.tree) };
        let item = Item { tree: Hir::repetition(repetition), depth: item.depth + 1, copies };
        self.check(&item)?;
        self.frame().sequence.push(item);
        Ok(true)
    }

    fn backslash(&mut self) -> Result<(), String> {
        let Some(letter) = self.rest[1..].chars().next() else {
            return Err(refusal("trailing backslash at end of expression", ""));
        };
        let look = match letter {
            'A' => Look::Start,
            'z' => Look::End,
            'b' => Look::WordAscii,
            'B' => Look::WordAsciiNegate,
            'C' => return Err(refusal("invalid escape sequence", "\\C")),
            'Q' => {
                let (text, rest) = self.rest[2..].split_once("\\E").unwrap_or((&self.rest[2..], ""));
                self.rest = rest;
                text.chars().for_each(|c| self.literal(c as u32));
                return Ok(());
            }
            _ => {
                if let Some(set) = self.named_set()? {
                    self.push(Hir::class(Class::Unicode(set.into_class())));
                } else {
                    let rune = self.escape()?;
                    self.literal(rune);
                }
                return Ok(());
            }
        };
        self.skip(2);
        self.push(Hir::look(look));
        Ok(())
    }

    /// `\pL`, `\p{Greek}`, `\d` and the like, if that is what stands here.
    fn named_set(&mut self) -> Result<Option<Set>, String> {
        let start = self.rest;
        let mut letters = start.chars();
        let (Some('\\'), Some(letter)) = (letters.next(), letters.next()) else { return Ok(None) };
        if !matches!(letter, 'p' | 'P') {
            let set = class::perl(letter, self.flags.fold);
            self.skip(if set.is_some() { 2 } else { 0 });
            return Ok(set);
        }
        let (name, length) = match letters.next() {
            Some('{') => {
                let end = start.find('}').ok_or_else(|| refusal("invalid character class range", start))?;
                (&start[3..end], end + 1)
            }
            Some(c) => (&start[2..2 + c.len_utf8()], 2 + c.len_utf8()),
            None => ("", 2),
        };
        let (negative, name) = name.strip_prefix('^').map_or((false, name), |name| (true, name));
        let set = unicode::property(name, self.flags.fold)
            .ok_or_else(|| refusal("invalid character class range", &start[..length]))?;
        self.skip(length);
        Ok(Some(if negative == (letter == 'p') { set.negated() } else { set }))
    }

    /// One escaped character.
    fn escape(&mut self) -> Result<u32, String> {
        let start = self.rest;
        self.skip(1);
        let Some(c) = self.take() else {
            return Err(refusal("trailing backslash at end of expression", ""));
        };
        let rune = match c {
            '1'..='7' if !self.rest.starts_with(|c| matches!(c, '0'..='7')) => None,
            '0'..='7' => {
                let mut rune = c as u32 - '0' as u32;
                for _ in 0..2 {
                    let Some(digit) = self.rest.chars().next().and_then(|c| c.to_digit(8)) else { break };
                    rune = rune * 8 + digit;
                    self.skip(1);
                }
                Some(rune)
            }
            'x' => self.hex(),
            'a' => Some(0x07),
            'f' => Some(0x0c),
            'n' => Some(0x0a),
            'r' => Some(0x0d),
            't' => Some(0x09),
            'v' => Some(0x0b),
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(c as u32),
            _ => None,
        };
        rune.ok_or_else(|| refusal("invalid escape sequence", before(start, self.rest)))
    }

    /// `\x7F` or `\x{10FFFF}`, after the x.
    fn hex(&mut self) -> Option<u32> {
        let first = self.take()?;
        if first != '{' {
            let second = self.take()?;
            return Some(first.to_digit(16)? * 16 + second.to_digit(16)?);
        }
        let mut rune = None;
        loop {
            match self.take()? {
                '}' => return rune,
                c => rune = Some(rune.unwrap_or(0) * 16 + c.to_digit(16)?).filter(|rune| *rune <= char::MAX as u32),
            }
            rune?;
        }
    }

    fn take(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.skip(c.len_utf8());
        Some(c)
    }

    /// `[…]`.
    fn class(&mut self) -> Result<(), String> {
        let whole = self.rest;
        self.skip(1);
        let negative = self.rest.starts_with('^');
        self.skip(usize::from(negative));
        let mut set = Set::empty();
        let mut first = true;
        while first || !self.rest.starts_with(']') {
            first = false;
            if let Some(named) = self.posix_set()? {
                set.union(&named);
                continue;
            }
            if let Some(named) = self.named_set()? {
                set.union(&named);
                continue;
            }
            set.union(&self.range(whole)?);
        }
        self.skip(1);
        let set = if negative { set.negated() } else { set };
        self.push(Hir::class(Class::Unicode(set.into_class())));
        Ok(())
    }

    fn posix_set(&mut self) -> Result<Option<Set>, String> {
        let start = self.rest;
        let Some(end) = start.strip_prefix("[:").and_then(|rest| rest.find(":]")) else { return Ok(None) };
        let name = &start[..end + 4];
        let set = class::posix(name, self.flags.fold).ok_or_else(|| refusal("invalid character class range", name))?;
        self.skip(name.len());
        Ok(Some(set))
    }

    /// One character of a class, or a range of them.
    fn range(&mut self, whole: &str) -> Result<Set, String> {
        let start = self.rest;
        let low = self.class_rune(whole)?;
        let mut high = low;
        // In `[a-]` the hyphen is text.
        if self.rest.starts_with('-') && self.rest.len() > 1 && !self.rest.starts_with("-]") {
            self.skip(1);
            high = self.class_rune(whole)?;
            if high < low {
                return Err(refusal("invalid character class range", before(start, self.rest)));
            }
        }
        let mut set = Set::empty();
        set.add(low, high);
        Ok(if self.flags.fold { set.folded() } else { set })
    }

    fn class_rune(&mut self, whole: &str) -> Result<u32, String> {
        if self.rest.starts_with('\\') {
            return self.escape();
        }
        self.take().map(|c| c as u32).ok_or_else(|| refusal("missing closing ]", whole))
    }
}

/// The counts of `{2}`, `{2,}` or `{2,5}` and their length in bytes, if that is what `text` begins with.
fn counts(text: &str) -> Option<(u64, Option<u64>, usize)> {
    let mut rest = text.strip_prefix('{')?;
    let min = count(&mut rest)?;
    let max = match rest.strip_prefix(',') {
        None => Some(min),
        Some(after) => {
            rest = after;
            if rest.starts_with('}') { None } else { Some(count(&mut rest)?) }
        }
    };
    let rest = rest.strip_prefix('}')?;
    Some((min, max, text.len() - rest.len()))
}

/// A decimal number without leading zeros; huge ones saturate.
fn count(rest: &mut &str) -> Option<u64> {
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (text, after) = rest.split_at(digits);
    if text.is_empty() || (text.len() > 1 && text.starts_with('0')) {
        return None;
    }
    *rest = after;
    Some(text.parse().unwrap_or(HUGE).min(HUGE))
}
