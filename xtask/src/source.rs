//! Source files as text: which there are, and Rust without its comments, strings and tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::run;

/// A text file of the project.
pub(crate) struct File {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Every text file that is, or would be, checked in; sorted by path.
pub(crate) fn files(root: &Path) -> Result<Vec<File>> {
    let mut paths = match tracked(root) {
        Some(paths) => paths,
        // A source archive has no repository: take what lies there.
        None => walk(root)?,
    };
    paths.sort();
    paths.dedup();
    let mut files = Vec::new();
    for path in paths {
        // Binary vectors are no text, and a tracked file may be gone from the tree.
        if let Ok(text) = std::fs::read_to_string(root.join(&path)) {
            files.push(File { path, text });
        }
    }
    Ok(files)
}

/// Rust code alone: comments, strings and characters become spaces, lines stay where they are.
pub(crate) fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let len = skip_len(&bytes[at..], out.last().copied());
        if len == 0 {
            out.push(bytes[at]);
            at += 1;
        } else {
            out.extend(bytes[at..at + len].iter().map(|&b| if b == b'\n' { b } else { b' ' }));
            at += len;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// `code` up to the `#[cfg(test)]` module at the file's end, where tests live here.
pub(crate) fn without_tests(code: &str) -> &str {
    let cut = code.match_indices("#[cfg(test)]").find(|(at, mark)| {
        let rest = code[at + mark.len()..].trim_start();
        rest.starts_with("mod ") && rest.find('{') < rest.find(';').or(Some(usize::MAX))
    });
    cut.map_or(code, |(at, _)| &code[..at])
}

/// True for files that only tests compile.
pub(crate) fn is_test(path: &str) -> bool {
    let in_dir = |dir: &str| path.split('/').any(|part| part == dir);
    in_dir("tests") || in_dir("benches") || path.ends_with("/tests.rs")
}

fn tracked(root: &Path) -> Option<Vec<String>> {
    let mut git = Command::new("git");
    // Files not yet added count too: a wall that only bites after the commit bites too late.
    git.args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(root);
    let ran = run::quiet(&mut git, std::time::Duration::from_secs(60)).ok().filter(|r| r.ok)?;
    Some(ran.text.lines().map(String::from).collect())
}

fn walk(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut dirs = vec![PathBuf::new()];
    while let Some(dir) = dirs.pop() {
        let entries = std::fs::read_dir(root.join(&dir)).map_err(|e| format!("{}: {e}", dir.display()))?;
        for entry in entries.flatten() {
            let path = dir.join(entry.file_name());
            let name = entry.file_name();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && name != "target" && name != ".git" => dirs.push(path),
                Ok(kind) if kind.is_file() => found.push(path.to_string_lossy().replace('\\', "/")),
                _ => {}
            }
        }
    }
    Ok(found)
}

/// Length of the comment, string or character literal that starts here; 0 if none does.
fn skip_len(rest: &[u8], before: Option<u8>) -> usize {
    let in_word = before.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    match rest {
        [b'/', b'/', ..] => rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment_len(rest),
        [b'"', ..] => quoted_len(rest, b'"'),
        [b'r', b'"' | b'#', ..] if !in_word => raw_string_len(rest, 1),
        [b'b', b'r', b'"' | b'#', ..] if !in_word => raw_string_len(rest, 2),
        // A lifetime has no closing quote.
        [b'\'', b'\\', ..] => quoted_len(rest, b'\''),
        [b'\'', _, b'\'', ..] => 3,
        _ => 0,
    }
}

fn block_comment_len(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                at += 2;
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                at += 2;
            }
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn quoted_len(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b if b == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_string_len(rest: &[u8], prefix: usize) -> usize {
    let hashes = rest[prefix..].iter().take_while(|&&b| b == b'#').count();
    if rest.get(prefix + hashes) != Some(&b'"') {
        return 0; // a raw identifier
    }
    let mut end = vec![b'"'];
    end.resize(1 + hashes, b'#');
    let body = prefix + hashes + 1;
    let close = rest[body..].windows(end.len()).position(|w| w == end);
    close.map_or(rest.len(), |at| body + at + end.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: &str) {
        let got = code(text);
        assert_eq!(got.split_whitespace().collect::<Vec<_>>().join(" "), want, "{text}");
        assert_eq!(got.lines().count(), text.lines().count(), "lines stay: {text}");
    }

    #[test]
    fn only_code_is_left() {
        check("a // f64\nb", "a b");
        check("a /* f64 /* f32 */ x */ b", "a b");
        check("a(\"f64 \\\" f32\") b", "a( ) b");
        check("r#\"f64 \" f32\"# b", "b");
        check("br\"f64\" b", "b");
        check("'\\'' b '\"' c 'x' d", "b c d");
        check("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}");
        check("r#type b", "r#type b");
    }

    #[test]
    fn tests_are_cut_off_only_where_they_are_inline() {
        assert_eq!(without_tests("a\n#[cfg(test)]\nmod tests {\n}"), "a\n");
        assert_eq!(
            without_tests("a\n#[cfg(test)]\nmod tests;\nfn b() {}"),
            "a\n#[cfg(test)]\nmod tests;\nfn b() {}"
        );
    }
}
