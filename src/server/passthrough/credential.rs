//! Whose call it is, and in whose name it goes on: the caller's key out, the gateway's in.
//!
//! Why it exists: a vendor's SDK puts a key where its vendor wants it, and here that key is one of the gateway's own. What
//! it refuses to know: which keys there are. To add a place: [`HEADERS`].

use base64_simd::STANDARD;
use http::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION};
use pingora::http::RequestHeader;

use crate::provider::Auth;
use crate::transport::Secret;

/// Headers that carry a caller's key; all of them are taken out.
static HEADERS: [HeaderName; 3] =
    [AUTHORIZATION, HeaderName::from_static("x-goog-api-key"), HeaderName::from_static("api-key")];
/// Further headers that speak of the caller and not of the call.
static PRIVATE: [HeaderName; 3] = [COOKIE, PROXY_AUTHORIZATION, HeaderName::from_static("x-api-key")];
/// The query parameter of Google's APIs.
const QUERY: &str = "key";

/// The caller's key, wherever it stands.
pub(super) fn caller_key(headers: &HeaderMap, query: Option<&str>) -> Option<String> {
    let header = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let authorization = header(&AUTHORIZATION).and_then(|value| {
        let (scheme, rest) = value.split_once(' ')?;
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(rest.trim().to_owned());
        }
        let pair =
            STANDARD.decode_to_vec(rest.trim().as_bytes()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
        let pair = String::from_utf8(pair).ok()?;
        Some(pair.split_once(':').map_or(pair.as_str(), |(_, password)| password).to_owned())
    });
    authorization
        .or_else(|| HEADERS.iter().skip(1).find_map(|name| header(name).map(str::to_owned)))
        .or_else(|| parameters(query?).find_map(|pair| Some(pair.strip_prefix(QUERY)?.strip_prefix('=')?.to_owned())))
        .filter(|key| !key.is_empty())
}

/// The query without the caller's key.
pub(super) fn without_key(query: &str) -> String {
    let kept = parameters(query).filter(|pair| pair.split('=').next() != Some(QUERY));
    kept.collect::<Vec<_>>().join("&")
}

fn parameters(query: &str) -> impl Iterator<Item = &str> {
    query.split('&')
}

/// Whether a header is the caller's own, and stays here.
pub(super) fn is_callers(name: &HeaderName) -> bool {
    HEADERS.iter().chain(&PRIVATE).any(|own| own == name)
}

/// Takes out what is the caller's and puts in what is the gateway's. `Err` when the credential cannot stand in a header.
pub(super) fn exchange(head: &mut RequestHeader, auth: Auth, credential: Option<&Secret>) -> Result<(), ()> {
    for name in HEADERS.iter().chain(&PRIVATE) {
        head.remove_header(name);
    }
    match header(auth, credential)? {
        Some((name, value)) => head.insert_header(name, value).map_err(drop),
        None => Ok(()),
    }
}

/// The header that carries the gateway's credential, if one does. `Err` when it cannot stand in a header.
pub(super) fn header(auth: Auth, credential: Option<&Secret>) -> Result<Option<(&'static str, HeaderValue)>, ()> {
    let Some(credential) = credential else {
        return Ok(None);
    };
    let key = credential.reveal();
    let (name, value) = match auth {
        Auth::None => return Ok(None),
        Auth::Basic => ("authorization", format!("Basic {}", STANDARD.encode_to_string(key.as_bytes()))),
        Auth::Bearer => ("authorization", ["Bearer ", key].concat()),
        Auth::Header(name) => (name, key.to_owned()),
    };
    let mut value = HeaderValue::from_str(&value).map_err(drop)?;
    value.set_sensitive(true);
    Ok(Some((name, value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_where_its_vendor_puts_it() {
        let key = |name: &'static str, value: &str, query: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            caller_key(&headers, query)
        };
        assert_eq!(key("authorization", "Bearer tg_1", None).as_deref(), Some("tg_1"));
        assert_eq!(key("authorization", "bearer  tg_1 ", None).as_deref(), Some("tg_1"));
        assert_eq!(key("authorization", "Basic dXNlcjp0Z18x", None).as_deref(), Some("tg_1"));
        assert_eq!(key("x-goog-api-key", "tg_1", None).as_deref(), Some("tg_1"));
        assert_eq!(key("api-key", "tg_1", None).as_deref(), Some("tg_1"));
        assert_eq!(key("accept", "*/*", Some("alt=sse&key=tg_1")).as_deref(), Some("tg_1"));
        assert_eq!(key("accept", "*/*", Some("monkey=1&keys=2")), None);
        assert_eq!(key("authorization", "Digest x", None), None);
        assert_eq!(without_key("alt=sse&key=tg_1&x=1"), "alt=sse&x=1");
        assert_eq!(without_key("key=tg_1"), "");
    }

    #[test]
    fn what_is_the_callers_stays_here() {
        let mut head = RequestHeader::build("POST", b"/", None).unwrap();
        for name in HEADERS.iter().chain(&PRIVATE) {
            head.insert_header(name.clone(), "the callers").unwrap();
        }
        exchange(&mut head, Auth::Header("x-goog-api-key"), Secret::new("ours").as_ref()).unwrap();
        assert_eq!(head.headers.len(), 1);
        assert_eq!(head.headers["x-goog-api-key"], "ours");
        exchange(&mut head, Auth::Bearer, None).unwrap();
        assert!(head.headers.is_empty());
    }
}
