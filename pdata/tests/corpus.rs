//! The inputs that fuzzing has stored, once each, through everything that may read them.

#[allow(unreachable_pub, reason = "public for the fuzz targets")]
#[path = "../../fuzz/src/lib.rs"]
mod fuzz;

use std::path::Path;

fn each(folder: &str, mut check: impl FnMut(&[u8])) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(folder);
    let mut files: Vec<_> =
        folder.read_dir().expect("the corpus is stored").map(|file| file.expect("it can be listed").path()).collect();
    files.sort();
    for file in &files {
        check(&std::fs::read(file).expect("it can be read"));
    }
    files.len()
}

#[test]
fn stored_protobuf_is_read_as_prost_reads_it() {
    let seen = each("protobuf", |bytes| {
        fuzz::metrics(bytes);
        fuzz::logs(bytes);
        fuzz::traces(bytes);
        // Each cut short, and each with one byte changed.
        for at in 0..bytes.len().min(200) {
            let mut changed = bytes.to_vec();
            changed[at] ^= 0x55;
            for bytes in [&bytes[..at], &changed] {
                fuzz::metrics(bytes);
                fuzz::logs(bytes);
                fuzz::traces(bytes);
            }
        }
    });
    assert!(seen >= 20, "{seen}");
}

#[test]
fn stored_json_is_an_error_or_valid_protobuf() {
    let seen = each("json", |text| {
        fuzz::json(text);
        (0..text.len()).step_by(7).for_each(|at| fuzz::json(&text[..at]));
    });
    assert!(seen >= 10, "{seen}");
}
