//! The demo's page with its values filled in, as an HTTP response.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::commands::Commands;
use super::{DATA, ISSUE, USER};
use crate::api::EventType;

/// The page, with placeholders such as `{{token}}`.
const PAGE: &str = include_str!("page.html");

/// The published browser client. It is a module; its `export` is harmless in an inline script.
const CLIENT: &str = include_str!("../../../clients/js/airlay-events.js");

/// The whole response. Its Content-Security-Policy allows the page's own script and style, WebSockets, and fetching the
/// page again for a fresh token; nothing else.
pub(super) fn response(token: &str, commands: &Commands) -> Vec<u8> {
    let Commands { program, socket } = commands;
    let page = page();
    let values = [
        ("token", token),
        ("program", program),
        ("socket", socket),
        ("user", USER),
        ("id", ISSUE),
        ("data", DATA),
    ];
    let [style, script] = ["style", "script"].map(|element| hash(inside(&page, element)));
    let body = values
        .into_iter()
        .fold(page, |page, (name, value)| page.replace(&format!("{{{{{name}}}}}"), &escape(value)));
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\n\
         Connection: close\r\n\
         Content-Type: text/html; charset=utf-8\r\n\
         Content-Length: {length}\r\n\
         Content-Security-Policy: default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; \
         img-src data:; connect-src 'self' ws:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n\
         Cache-Control: no-store\r\n\
         Referrer-Policy: no-referrer\r\n\
         X-Content-Type-Options: nosniff\r\n\r\n{body}"
    )
    .into_bytes()
}

/// The page with the browser client in its script and the event types to choose from.
fn page() -> String {
    PAGE.replacen("{{client}}", CLIENT, 1).replacen("{{types}}", &type_options(), 1)
}

/// An option of the page's form for each event type; a personal one is marked.
fn type_options() -> String {
    let option = |kind: EventType| {
        let mark = if kind.is_personal() { " data-personal" } else { "" };
        format!("<option{mark}>{kind}")
    };
    EventType::ALL.into_iter().map(option).collect()
}

/// The content of the page's only element with this name.
fn inside<'p>(page: &'p str, element: &str) -> &'p str {
    let (_, rest) = page.split_once(&format!("<{element}")).unwrap_or_default();
    let (_, rest) = rest.split_once('>').unwrap_or_default();
    rest.split_once(&format!("</{element}>")).unwrap_or_default().0
}

/// The hash that allows an inline element in a Content-Security-Policy (CSP 3 §2.3.1).
fn hash(source: &str) -> String {
    STANDARD.encode(digest(&SHA256, source.as_bytes()))
}

/// Escapes `text` for HTML text and double-quoted attributes, and its braces, so that it has no placeholders.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;").replace('{', "&#123;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_response_is_complete_and_filled_in() {
        let commands = Commands { program: "'/<a> \"b\" & c' web_socket".into(), socket: "/{{user}}".into() };
        let response = String::from_utf8(response("a.b.c", &commands)).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
        assert!(body.contains("\"'/&lt;a> &quot;b&quot; &amp; c' web_socket\""));
        assert!(body.contains("\"a.b.c\""));
        assert!(body.contains("\"/&#123;&#123;user}}\""));
        assert_eq!(body.matches("{{").count(), 0);
    }

    #[test]
    fn the_page_is_one_style_one_script_and_nothing_from_elsewhere() {
        let page = page();
        for element in ["style", "script"] {
            assert_eq!(page.matches(&format!("<{element}")).count(), 1);
            assert_eq!(page.matches(&format!("</{element}")).count(), 1);
            let inside = inside(&page, element);
            assert!(!inside.is_empty() && !inside.contains("{{"), "{element} is hashed without placeholders");
        }
        assert!(inside(&page, "script").contains(CLIENT));
        for outside in ["src=\"", "href=\"http", "//cdn", "@import", "url(", " style=", " onclick="] {
            assert!(!PAGE.contains(outside), "{outside}");
        }
    }
}
