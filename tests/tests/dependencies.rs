//! deny.toml, kept by the build itself: cargo-deny compiles for minutes and is on few machines.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{Metadata, MetadataCommand};
use serde_json::Value;
use tests::repository;

fn metadata() -> Metadata {
    MetadataCommand::new()
        .current_dir(repository::root())
        .other_options(["--all-features".into(), "--locked".into()])
        .exec()
        .expect("cargo knows the workspace")
}

/// deny.toml as a tree.
fn rules() -> Value {
    toml::from_str(&repository::text("deny.toml")).expect("deny.toml is TOML")
}

fn texts<'a>(rules: &'a Value, pointer: &str) -> BTreeSet<&'a str> {
    let list =
        rules.pointer(pointer).and_then(Value::as_array).unwrap_or_else(|| panic!("deny.toml has no list {pointer}"));
    list.iter().map(|text| text.as_str().expect("a list of texts")).collect()
}

/// Whether an SPDX expression can be met with the allowed licences. `/` is the old way to write `OR`.
fn allows(allowed: &BTreeSet<&str>, expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    either(allowed, &mut rest) && rest.is_empty()
}

fn either(allowed: &BTreeSet<&str>, rest: &mut &[&str]) -> bool {
    let mut met = both(allowed, rest);
    while let ["OR", after @ ..] = *rest {
        *rest = after;
        met |= both(allowed, rest);
    }
    met
}

fn both(allowed: &BTreeSet<&str>, rest: &mut &[&str]) -> bool {
    let mut met = one(allowed, rest);
    while let ["AND", after @ ..] = *rest {
        *rest = after;
        met &= one(allowed, rest);
    }
    met
}

fn one(allowed: &BTreeSet<&str>, rest: &mut &[&str]) -> bool {
    match *rest {
        ["(", after @ ..] => {
            *rest = after;
            let met = either(allowed, rest);
            *rest = rest.strip_prefix(&[")"]).unwrap_or(&["unbalanced"]);
            met
        }
        [license, "WITH", exception, after @ ..] => {
            *rest = after;
            allowed.contains(format!("{license} WITH {exception}").as_str())
        }
        [license, after @ ..] => {
            *rest = after;
            allowed.contains(license)
        }
        [] => false,
    }
}

#[test]
fn every_licence_is_allowed() {
    let rules = rules();
    let allowed = texts(&rules, "/licenses/allow");
    let refused: Vec<String> = metadata()
        .packages
        .iter()
        .filter(|package| !package.license.as_deref().is_some_and(|license| allows(&allowed, license)))
        .map(|package| format!("{} {}: {:?}", package.name, package.version, package.license))
        .collect();
    assert!(refused.is_empty(), "not allowed by deny.toml: {refused:#?}");
}

#[test]
fn expressions_are_weighed_as_spdx_says() {
    let allowed = BTreeSet::from(["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"]);
    for met in [
        "MIT",
        "MIT OR GPL-3.0",
        "GPL-3.0/MIT",
        "MIT AND ISC",
        "(GPL-3.0 OR MIT) AND ISC",
        "Apache-2.0 WITH LLVM-exception",
    ] {
        assert!(allows(&allowed, met), "{met}");
    }
    for unmet in [
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "Apache-2.0",
        "(MIT OR ISC) AND GPL-3.0",
        "GPL-3.0 OR MIT AND GPL-2.0",
        "(MIT",
        "MIT MIT",
        "",
    ] {
        assert!(!allows(&allowed, unmet), "{unmet}");
    }
}

#[test]
fn banned_crates_stay_out_and_single_ones_stay_single() {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in metadata().packages {
        versions.entry(package.name.to_string()).or_default().insert(package.version.to_string());
    }
    let rules = rules();
    let bans = rules.pointer("/bans/deny").and_then(Value::as_array).expect("deny.toml has bans");
    let must = ["openssl-sys", "native-tls", "aws-lc-sys", "serde_yml", "tokio", "hyper", "rustls"];
    for name in must {
        assert!(bans.iter().any(|ban| ban["crate"] == name), "deny.toml no longer speaks of {name}");
    }
    for ban in bans {
        let name = ban["crate"].as_str().expect("a ban names a crate");
        let found = versions.get(name).map_or(0, BTreeSet::len);
        let most = usize::from(ban["deny-multiple-versions"] == true);
        assert!(found <= most, "{name} {:?}: {}", versions.get(name), ban["reason"]);
    }
}

#[test]
fn everything_comes_from_crates_io() {
    let rules = rules();
    let known = texts(&rules, "/sources/allow-registry");
    for package in metadata().packages {
        let Some(source) = &package.source else { continue };
        let registry = source.repr.strip_prefix("registry+");
        assert!(
            registry.is_some_and(|registry| known.contains(registry)),
            "{} comes from {}",
            package.name,
            source.repr
        );
    }
}
