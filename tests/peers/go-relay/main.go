// Command go-relay stands in for the platform's relay: an SSH server on
// golang.org/x/crypto/ssh that opens one direct-tcpip channel towards a gateway
// for each TCP client. Tests run the agent's SSH engine against it.
//
// When both listeners are bound it prints one JSON line on stdout, such as
// {"ssh":"127.0.0.1:40001","client":"127.0.0.1:40002"}; what happens afterwards
// is logged on stderr, one JSON line an event.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "go-relay:", err)
		os.Exit(1)
	}
}

func run() error {
	var (
		sshAddr    = flag.String("listen", "127.0.0.1:0", "address where gateways log in with SSH")
		clientAddr = flag.String("client-listen", "127.0.0.1:0", "address where TCP clients are accepted")
		hostKey    = flag.String("host-key", "", "private host key, OpenSSH PEM (required)")
		hostCert   = flag.String("host-cert", "", "certificate of the host key, read anew for each connection; without it the raw key is offered, which gateways must refuse")
		hostAlgos  = flag.String("host-algorithms", "", "signature algorithms offered for an RSA host key, comma-separated (default: the library's)")
		signSHA1   = flag.Bool("sign-sha1", false, "misbehave: sign the exchange hash with ssh-rsa (SHA-1) whatever was negotiated")
		userCA     = flag.String("user-ca", "", "public key of the CA that signs the gateways' certificates (required)")
		gateway    = flag.String("gateway", "", "id of the gateway that clients reach (default: whichever is connected)")
		payload    = flag.String("payload", "empty", "type-specific payload of direct-tcpip: empty, or fields as in RFC 4254")
		rekey      = flag.Uint64("rekey", 0, "bytes after which this side exchanges keys anew (default: the library's)")
		ciphers    = flag.String("ciphers", "", "ciphers, comma-separated (default: the library's)")
		kex        = flag.String("kex", "", "key exchanges, comma-separated (default: the library's)")
		macs       = flag.String("macs", "", "MACs, comma-separated (default: the library's)")
		banner     = flag.String("banner", "", "text to send before authentication")
		probe      = flag.Bool("probe", false, "after a login, ask for what a gateway must refuse and log its answers")
	)
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if *hostKey == "" || *userCA == "" {
		return errors.New("-host-key and -user-ca are required")
	}
	if *payload != "empty" && *payload != "fields" {
		return fmt.Errorf("-payload is %q: empty or fields", *payload)
	}

	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	ca, err := loadPublicKey(*userCA)
	if err != nil {
		return err
	}
	// The certificate names the port, which nobody knows until the ready line.
	relay := newRelay(log, func() (*ssh.ServerConfig, error) {
		signer, err := loadHostSigner(log, *hostKey, *hostCert, list(*hostAlgos), *signSHA1)
		if err != nil {
			return nil, err
		}
		config := serverConfig(signer, ca)
		config.RekeyThreshold = *rekey
		config.Ciphers = list(*ciphers)
		config.KeyExchanges = list(*kex)
		config.MACs = list(*macs)
		if *banner != "" {
			config.BannerCallback = func(ssh.ConnMetadata) string { return *banner }
		}
		return config, nil
	})
	relay.gatewayID = *gateway
	relay.payloadFields = *payload == "fields"
	relay.probing = *probe

	gateways, err := net.Listen("tcp", *sshAddr)
	if err != nil {
		return err
	}
	clients, err := net.Listen("tcp", *clientAddr)
	if err != nil {
		return err
	}
	ready := map[string]string{"ssh": gateways.Addr().String(), "client": clients.Addr().String()}
	if err := json.NewEncoder(os.Stdout).Encode(ready); err != nil {
		return err
	}
	failed := make(chan error)
	go func() { failed <- serve(gateways, relay.serveGateway) }()
	go func() { failed <- serve(clients, relay.serveClient) }()
	return <-failed
}

// serve hands each accepted connection to a goroutine of its own, until the
// listener fails or is closed.
func serve(listener net.Listener, handle func(*net.TCPConn)) error {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go handle(conn.(*net.TCPConn))
	}
}

// list splits a comma-separated flag; nil lets the library choose.
func list(flag string) []string {
	if flag == "" {
		return nil
	}
	return strings.Split(flag, ",")
}
