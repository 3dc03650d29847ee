//! Handlers that say one thing and close.

use serde::Serialize;

/// The answer to `infisical-ping`.
pub(super) const PONG: &[u8] = b"PONG\n";

/// The answer to `infisical-health`: how many seconds may pass between two heartbeats.
pub(super) const HEALTH: &[u8] = b"{\"status\":\"ok\",\"heartbeatTTL\":180}\n";

/// The answer to `infisical-pam-capabilities`: a length of four bytes, and which kinds of privileged
/// access this gateway serves, which is none.
pub(super) fn pam_capabilities(gateway_name: &str) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Capabilities<'a> {
        gateway_name: &'a str,
        supported_resource_types: [&'a str; 0],
    }
    let capabilities = Capabilities { gateway_name, supported_resource_types: [] };
    // Strings always serialize, and a name is nowhere near 4 GiB.
    let json = serde_json::to_vec(&capabilities).unwrap_or_default();
    let length = u32::try_from(json.len()).unwrap_or_default();
    [length.to_be_bytes().as_slice(), &json].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_carry_their_length() {
        assert_eq!(pam_capabilities("a\"b"), b"\0\0\0\x32{\"gatewayName\":\"a\\\"b\",\"supportedResourceTypes\":[]}");
    }
}
