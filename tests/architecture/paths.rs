//! Every path that a code names: `a::b::c` where it stands, and each leaf of a `use` tree.
//!
//! Why it exists: a rule about imports must see `use std::{fs, net}` as it sees `std::fs::read`. What it refuses to
//! know: which name resolves to what.

use std::iter::{self, Peekable};
use std::vec::IntoIter;

use super::source::words;

/// A path as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// Where it begins.
    pub(crate) at: usize,
    /// Its names; the last is `*` for a glob.
    pub(crate) names: Vec<String>,
    /// Whether a `use` names it.
    pub(crate) imported: bool,
}

impl Named {
    /// Whether these names stand in it, one after the other.
    pub(crate) fn has(&self, run: &[&str]) -> bool {
        self.names.windows(run.len()).any(|names| names == run)
    }

    /// Whether it begins with these names.
    pub(crate) fn begins(&self, run: &[&str]) -> bool {
        self.names.len() >= run.len() && self.names.iter().zip(run).all(|(name, wanted)| name == wanted)
    }

    /// The name of the crate or module in which it begins; a lone name is a variable or a type.
    pub(crate) fn root(&self) -> Option<&str> {
        self.names.first().map(String::as_str).filter(|_| self.imported || self.names.len() > 1)
    }

    /// As it is written in a message.
    pub(crate) fn shown(&self) -> String {
        self.names.join("::")
    }
}

/// Every path of a code (without comments and literals), in order.
pub(crate) fn paths(code: &str) -> Vec<Named> {
    let mut tokens = tokens(code).into_iter().peekable();
    let mut paths = Vec::new();
    while let Some((at, token)) = tokens.next() {
        let Token::Word(word) = token else { continue };
        let next = tokens.peek().map(|(_, token)| token);
        match next {
            Some(Token::Word(_) | Token::Colons | Token::Mark('{')) if word == "use" => {
                tree(&mut tokens, &[], &mut paths);
            }
            _ => {
                let mut names = vec![word];
                while tokens.next_if(|(_, token)| *token == Token::Colons).is_some() {
                    let Some((_, Token::Word(word))) = tokens.next_if(|(_, token)| matches!(token, Token::Word(_)))
                    else {
                        break;
                    };
                    names.push(word);
                }
                paths.push(Named { at, names, imported: false });
            }
        }
    }
    paths
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Colons,
    Mark(char),
}

type Tokens = Peekable<IntoIter<(usize, Token)>>;

/// One branch of a `use` tree, up to its comma, brace or semicolon, which stays.
fn tree(tokens: &mut Tokens, stem: &[String], found: &mut Vec<Named>) {
    let mut names = stem.to_vec();
    let mut at = None;
    while let Some((place, token)) = tokens.next_if(|(_, token)| !matches!(token, Token::Mark(',' | '}' | ';'))) {
        match token {
            Token::Word(word) if word == "as" => drop(tokens.next()),
            Token::Word(word) => {
                at = Some(place);
                if word != "self" || names.is_empty() {
                    names.push(word);
                }
            }
            Token::Mark('*') => {
                at = Some(place);
                names.push("*".to_owned());
            }
            Token::Mark('{') => {
                at = None;
                loop {
                    tree(tokens, &names, found);
                    if !matches!(tokens.next(), Some((_, Token::Mark(',')))) {
                        break;
                    }
                }
            }
            Token::Colons | Token::Mark(_) => {}
        }
    }
    if let Some(at) = at {
        found.push(Named { at, names, imported: true });
    }
}

fn tokens(code: &str) -> Vec<(usize, Token)> {
    let mut tokens = Vec::new();
    let mut from = 0;
    for word in words(code).chain(iter::once(code.len()..code.len())) {
        while let Some(mark) = code[from..word.start].chars().next() {
            let colons = code[from..word.start].starts_with("::");
            if !mark.is_whitespace() {
                tokens.push((from, if colons { Token::Colons } else { Token::Mark(mark) }));
            }
            from += if colons { 2 } else { mark.len_utf8() };
        }
        tokens.push((word.start, Token::Word(code[word.clone()].to_owned())));
        from = word.end;
    }
    // The last is the empty word behind the end.
    tokens.pop();
    tokens
}
