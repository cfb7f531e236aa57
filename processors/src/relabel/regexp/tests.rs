use super::GoRegex;

/// What `pattern`, anchored, makes of `text`: the groups, or nothing.
fn groups(pattern: &str, text: &str) -> Option<Vec<String>> {
    let mut regex = GoRegex::anchored(pattern).unwrap();
    let compiled: Vec<_> = (0..regex.groups.len()).map(|group| regex.numbered(group)).collect();
    let places = regex.find(text)?;
    let group =
        |place: Option<usize>| place.and_then(|place| places.get(place)).map_or("", |(a, b)| &text[a..b]).to_owned();
    Some(compiled.into_iter().map(group).collect())
}

fn refused(pattern: &str) -> String {
    GoRegex::anchored(pattern).unwrap_err()
}

#[test]
fn what_go_matches_is_matched_and_nothing_else() {
    let table: &[(&str, &[&str], &[&str])] = &[
        // Anchored at both ends; the dot takes newlines; the dollar is the very end.
        ("a", &["a"], &["ab", "ba", "a\n", ""]),
        ("a.b", &["a\nb", "axb"], &["ab"]),
        ("", &[""], &["a"]),
        ("(?-s:a.b)", &["axb"], &["a\nb"]),
        ("(?m:a$)\n?", &["a", "a\n"], &["b"]),
        // The odd sum of text: an alternation that is not grouped breaks the anchors apart.
        ("a)|(?:b", &["ax", "xb"], &["x"]),
        // Classes are ASCII.
        (r"\d+", &["019"], &["٣"]),
        (r"\w+", &["aZ_9"], &["é"]),
        (r"\s", &[" ", "\t", "\n", "\r", "\x0c"], &["\x0b", "\u{a0}"]),
        (r"\D\W\S", &["ééé"], &["1é1"]),
        (r"é\b.", &[], &["éé"]),
        (r"\ba\b", &["a"], &[]),
        (r"(?i)\w", &["\u{212a}", "\u{17f}"], &["é"]),
        ("(?i)straße", &["STRAẞE", "straße"], &["strasse"]),
        ("(?i)[k]", &["K", "\u{212a}"], &["l"]),
        ("(?i:a)b", &["Ab", "ab"], &["AB"]),
        // Quoting, octal, hex.
        (r"\Qa.b*\E+", &["a.b*", "a.b***"], &["aXb"]),
        (r"\101\x42\x{43}\07", &["ABC\x07"], &["abc"]),
        (r"\_\-\@", &["_-@"], &[]),
        (r"\x{d800}", &[], &["\u{fffd}"]),
        // Class syntax that Rust reads otherwise.
        ("[a&&b]+", &["a&b"], &["c"]),
        ("[a[b]", &["a", "[", "b"], &["]"]),
        ("[]a]+", &["]a"], &["b"]),
        ("[a-c-e]+", &["a-e"], &["d"]),
        ("[~~x&&--z]+", &["~x&-z"], &["w"]),
        (r"[^\d]", &["\n", "a"], &["1"]),
        (r"[\]\-\\]+", &["]-\\"], &["a"]),
        ("[[:alpha:][:^digit:]]", &["a", "é"], &["1"]),
        ("[[:word:]]+", &["a_1"], &["-"]),
        (r"[[:space:]]", &["\x0b"], &["a"]),
        // Unicode properties.
        (r"\pL\p{Greek}\P{Greek}\p{^L}", &["éαa1"], &["éaa1"]),
        (r"\p{Lu}\p{Zs}", &["É "], &["é "]),
        (r"[\p{Han}a]+", &["漢a"], &["b"]),
        (r"(?i)\p{Lu}", &["é"], &["1"]),
        (r"\p{Any}\p{ASCII}", &["éa"], &["éé"]),
        // Repetition.
        ("a{2,3}", &["aa", "aaa"], &["a", "aaaa"]),
        ("a{,2}", &["a{,2}"], &["aa"]),
        ("a{01}", &["a{01}"], &["a"]),
        ("{", &["{"], &[]),
        ("a{0}", &[""], &["a"]),
        ("^*a", &["a"], &[]),
        ("a(?i)*", &["aaa"], &["A"]),
        ("a||b", &["a", "b", ""], &["c"]),
        ("#  # no comment", &["#  # no comment"], &["#"]),
    ];
    for (pattern, yes, no) in table {
        for text in *yes {
            assert!(groups(pattern, text).is_some(), "{pattern} should match {text:?}");
        }
        for text in *no {
            assert!(groups(pattern, text).is_none(), "{pattern} should not match {text:?}");
        }
    }
}

#[test]
fn groups_are_filled_as_go_fills_them() {
    let table: &[(&str, &str, &[&str])] = &[
        ("(.*)", "abc", &["abc", "abc"]),
        ("(a*?)(a*)", "aaa", &["aaa", "", "aaa"]),
        ("(?U)(a*)(a*)", "aaa", &["aaa", "", "aaa"]),
        ("(?U)(a*?)(a*)", "aaa", &["aaa", "aaa", ""]),
        ("(a|ab)(c|bcd)?", "abcd", &["abcd", "a", "bcd"]),
        ("(?P<1x>.)(?<_>.)", "ab", &["ab", "a", "b"]),
        ("(a){0}(b)", "b", &["b", "", "b"]),
        ("(a)?(b)", "b", &["b", "", "b"]),
    ];
    for (pattern, text, expected) in table {
        assert_eq!(groups(pattern, text).unwrap(), *expected, "{pattern}");
    }
}

#[test]
fn what_go_refuses_is_refused_in_its_words() {
    let table = [
        ("a(b", "missing closing ): `^(?s:a(b)$`"),
        ("a)", "unexpected ): `^(?s:a))$`"),
        ("[a", "missing closing ]: `[a)$`"),
        ("*a", "missing argument to repetition operator: `*`"),
        ("(|+)", "missing argument to repetition operator: `+`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a*+", "invalid nested repetition operator: `*+`"),
        ("a{2}{3}", "invalid nested repetition operator: `{2}{3}`"),
        ("a??*", "invalid nested repetition operator: `??*`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("a{3,2}", "invalid repeat count: `{3,2}`"),
        ("(a{100}){11}", "invalid repeat count: `{11}`"),
        ("a{99999999999}", "invalid repeat count: `{99999999999}`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(?!a)", "invalid or unsupported Perl syntax: `(?!`"),
        ("(?x)a", "invalid or unsupported Perl syntax: `(?x`"),
        ("(?u:a)", "invalid or unsupported Perl syntax: `(?u`"),
        ("(?i-)a", "invalid or unsupported Perl syntax: `(?i-)`"),
        ("(?R)", "invalid or unsupported Perl syntax: `(?R`"),
        ("(?<=a)b", "invalid named capture: `(?<=a)b)$`"),
        ("(?P<n-1>a)", "invalid named capture: `(?P<n-1>`"),
        ("(?P<>a)", "invalid named capture: `(?P<>`"),
        ("(?P=n)", "invalid or unsupported Perl syntax: `(?P`"),
        (r"(a)\1", "invalid escape sequence: `\\1`"),
        (r"\Z", "invalid escape sequence: `\\Z`"),
        (r"\C", "invalid escape sequence: `\\C`"),
        (r"\h", "invalid escape sequence: `\\h`"),
        (r"\u00e9", "invalid escape sequence: `\\u`"),
        (r"\x{110000}", "invalid escape sequence: `\\x{110000`"),
        (r"\xg0", "invalid escape sequence: `\\xg0`"),
        (r"\é", "invalid escape sequence: `\\é`"),
        (r"[a-\d]", "invalid escape sequence: `\\d`"),
        (r"[\b]", "invalid escape sequence: `\\b`"),
        ("[z-a]", "invalid character class range: `z-a`"),
        ("[a--z]", "invalid character class range: `a--`"),
        ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
        (r"\p{Foo}", "invalid character class range: `\\p{Foo}`"),
        (r"\p{Latn}", "invalid character class range: `\\p{Latn}`"),
        (r"\p{Alphabetic}", "invalid character class range: `\\p{Alphabetic}`"),
        (r"\p{sc=Greek}", "invalid character class range: `\\p{sc=Greek}`"),
        (r"\p{L", "invalid character class range: `\\p{L)$`"),
        ("\\", "missing closing ): `^(?s:\\)$`"),
        (r"\Qa", "missing closing ): `^(?s:\\Qa)$`"),
    ];
    for (pattern, expected) in table {
        assert_eq!(refused(pattern), format!("error parsing regexp: {expected}"), "{pattern}");
    }
    let deep = format!("{}a{}", "(".repeat(300), ")".repeat(300));
    assert!(refused(&deep).contains("expression nests too deeply"), "{}", &refused(&deep)[..80]);
    let large = r"(\pL{1000}|\pN{1000})".repeat(50);
    assert!(refused(&large).contains("expression too large"));
}

#[test]
fn nothing_that_is_written_makes_it_panic() {
    use proptest::prelude::*;
    let pieces = prop::sample::select(vec![
        "(", ")", "[", "]", "^", "$", ".", "*", "+", "?", "{", "}", "1", ",", "\\", "p", "Q", "E", "x", "-", ":", "a",
        "é", "(?", "<", ">", "P", "i", "|", "[:", ":]", "alpha", "\\p{", "L", "\\x{", "\n",
    ]);
    proptest!(|(parts in prop::collection::vec(pieces, 0..12), text in ".{0,8}")| {
        if let Ok(mut regex) = GoRegex::anchored(&parts.concat()) {
            let _ = regex.find(&text);
        }
    });
}
