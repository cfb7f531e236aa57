//! docs/signatures.md, row by row: every case that its table names, sent to every scheme.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use super::{Door, requests, root, wire};

/// The columns of the table, as the oracle calls them.
const GROUPS: [&str; 7] = ["body", "time", "id", "standard", "public", "stripe", "token"];

/// What the table says of a case, by column.
type Table = BTreeMap<String, BTreeMap<&'static str, String>>;

/// The last table of the page.
fn table() -> Table {
    let page = std::fs::read_to_string(root().join("docs/signatures.md")).expect("the page is there");
    let rows =
        page.lines().skip_while(|line| !line.starts_with("| case |")).skip(2).take_while(|line| line.starts_with('|'));
    let row = |line: &str| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, case, told, verdicts @ .., _] = cells.as_slice() else { panic!("{line}") };
        assert!(!told.is_empty() && verdicts.len() == GROUPS.len(), "{line}");
        let verdicts = GROUPS.into_iter().zip(verdicts).filter(|(_, word)| !word.is_empty());
        (case.trim_matches('`').to_owned(), verdicts.map(|(group, word)| (group, (*word).to_owned())).collect())
    };
    rows.map(row).collect()
}

/// Sends one request on a connection that is kept, and reads the answer's body.
fn exchange(stream: &mut BufReader<TcpStream>, request: &[u8]) -> String {
    stream.get_mut().write_all(request).expect("weir reads");
    let (mut length, mut status) = (0, String::new());
    loop {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).expect("weir answers") > 0, "weir has hung up after {status:?}");
        let line = line.trim_end();
        if status.is_empty() {
            line.clone_into(&mut status);
        } else if line.is_empty() {
            break;
        } else if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().expect("a number");
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("a whole body");
    if status.contains(" 200 ") { String::from_utf8(body).expect("words").trim().to_owned() } else { status }
}

#[test]
fn every_case_of_the_page_is_answered_as_it_says() {
    let door = Door::open();
    let (table, requests) = (table(), requests());
    let mut stream = BufReader::new(TcpStream::connect(door.address).expect("weir listens"));
    let (mut wrong, mut seen) = (Vec::new(), BTreeMap::<_, usize>::new());
    for request in &requests {
        let say = |key: &str| request[key].as_str().expect("text");
        let (case, group) = (say("case"), say("group"));
        let expected = table.get(case).and_then(|row| row.get(group));
        let expected = expected.unwrap_or_else(|| panic!("the page says nothing of {case} under {group}"));
        let found = exchange(&mut stream, &wire(request));
        *seen.entry(expected.clone()).or_default() += 1;
        if found != *expected {
            wrong.push(format!("{case}, {}, body {}: {found}, not {expected}", say("scheme"), request["body"]));
        }
    }
    door.close();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), requests.len(), wrong.join("\n"));

    let sent: BTreeSet<_> = requests.iter().map(|r| (r["case"].as_str(), r["group"].as_str())).collect();
    for (case, row) in &table {
        for group in row.keys() {
            assert!(sent.contains(&(Some(case), Some(*group))), "nobody sends {case} under {group}");
        }
    }
    assert!(requests.len() >= 2_000, "{} requests", requests.len());
    for (word, at_least) in
        [("ok", 700), ("missing", 400), ("repeated", 250), ("malformed", 900), ("bad", 600), ("stale", 150)]
    {
        assert!(seen.get(word).is_some_and(|count| *count >= at_least), "{word}: {seen:?}");
    }
}
