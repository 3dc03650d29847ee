//! Answers of the gateway's own.

use serde::Serialize;

/// A whole response: `{"message":"gateway: ..."}`, as the reference gateway words its errors. Unlike
/// the reference's it has a length, so that the client need not wait for the connection to end.
pub(super) fn answer(status: u16, message: &str, close: bool) -> Vec<u8> {
    #[derive(Serialize)]
    struct Body {
        message: String,
    }
    // A string always serializes.
    let body = serde_json::to_vec(&Body { message: format!("gateway: {message}") }).unwrap_or_default();
    let close = if close { "Connection: close\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {status} {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{close}\r\n",
        reason(status),
        body.len()
    );
    [head.as_bytes(), &body].concat()
}

fn reason(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        403 => "Forbidden",
        431 => "Request Header Fields Too Large",
        505 => "HTTP Version Not Supported",
        _ => "Internal Server Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_json_of_a_known_length() {
        assert_eq!(
            String::from_utf8(answer(403, "\"x\"\r\n", true)).expect("text"),
            "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: 32\r\n\
             Connection: close\r\n\r\n{\"message\":\"gateway: \\\"x\\\"\\r\\n\"}"
        );
    }
}
