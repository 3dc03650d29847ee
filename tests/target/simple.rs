//! Handlers that say one thing and close.

use tokio::io::AsyncReadExt;

use crate::gateway::Gateway;

#[tokio::test]
async fn each_says_its_line_and_closes() {
    let gateway = Gateway::new();
    // They need no routing.
    let client = gateway.pki.client_with(&[], 300);
    for (protocol, expected) in [
        ("infisical-ping", &b"PONG\n"[..]),
        ("infisical-health", b"{\"status\":\"ok\",\"heartbeatTTL\":180}\n"),
        ("infisical-pam-capabilities", b"\0\0\0\x34{\"gatewayName\":\"edge-1\",\"supportedResourceTypes\":[]}"),
    ] {
        let (mut stream, served) = gateway.open(&client, protocol).await;
        let mut said = Vec::new();
        stream.read_to_end(&mut said).await.expect("a clean end");
        assert_eq!(said, expected, "{protocol}");
        served.await.expect("served");
    }
}
