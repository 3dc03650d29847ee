package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

const deadline = 10 * time.Second

// world is one relay on loopback with its CA, and a gateway's credentials.
type world struct {
	relay          *relay
	gateways       net.Listener
	clients        net.Listener
	hostCA, userCA ssh.Signer
	events         chan map[string]any
}

// eventWriter is where the relay's log goes, a line at a time.
type eventWriter chan map[string]any

func (w eventWriter) Write(line []byte) (int, error) {
	var event map[string]any
	if err := json.Unmarshal(line, &event); err != nil {
		return 0, err
	}
	w <- event
	return len(line), nil
}

// newWorld starts a relay; sha1 makes it sign key exchanges with SHA-1.
func newWorld(t *testing.T, sha1 bool) *world {
	t.Helper()
	w := &world{
		gateways: listen(t), clients: listen(t),
		hostCA: newEd25519(t), userCA: newEd25519(t),
		events: make(chan map[string]any, 1024),
	}
	log := slog.New(slog.NewJSONHandler(eventWriter(w.events), nil))
	keyPath, certPath := w.hostFiles(t)
	signer, err := loadHostSigner(log, keyPath, certPath, nil, sha1)
	if err != nil {
		t.Fatal(err)
	}
	config := serverConfig(signer, w.userCA.PublicKey())
	w.relay = newRelay(log, func() (*ssh.ServerConfig, error) { return config, nil })
	go serve(w.gateways, w.relay.serveGateway)
	go serve(w.clients, w.relay.serveClient)
	return w
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener
}

func newEd25519(t *testing.T) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// hostFiles writes an RSA host key and its certificate, as the relay reads them.
func (w *world) hostFiles(t *testing.T) (key, cert string) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	signed := &ssh.Certificate{
		Key: signer.PublicKey(), CertType: ssh.HostCert, KeyId: "relay-server",
		ValidPrincipals: []string{w.gateways.Addr().String()}, ValidBefore: ssh.CertTimeInfinity,
	}
	if err := signed.SignCert(rand.Reader, w.hostCA); err != nil {
		t.Fatal(err)
	}
	key = filepath.Join(t.TempDir(), "host")
	cert = key + "-cert.pub"
	if err := os.WriteFile(key, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cert, ssh.MarshalAuthorizedKey(signed), 0o600); err != nil {
		t.Fatal(err)
	}
	return key, cert
}

// event waits for the next event of that name.
func (w *world) event(t *testing.T, name string) map[string]any {
	t.Helper()
	expired := time.After(deadline)
	for {
		select {
		case event := <-w.events:
			if event["msg"] == name {
				return event
			}
		case <-expired:
			t.Fatalf("no event %q", name)
		}
	}
}

// dial logs in as a gateway; principal is what its certificate is for.
func (w *world) dial(t *testing.T, user, principal string) (*ssh.Client, error) {
	t.Helper()
	key := newEd25519(t)
	cert := &ssh.Certificate{
		Key: key.PublicKey(), CertType: ssh.UserCert, KeyId: "client-relay",
		ValidPrincipals: []string{principal}, ValidBefore: ssh.CertTimeInfinity,
	}
	if err := cert.SignCert(rand.Reader, w.userCA); err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewCertSigner(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	checker := &ssh.CertChecker{IsHostAuthority: func(authority ssh.PublicKey, _ string) bool {
		return bytes.Equal(authority.Marshal(), w.hostCA.PublicKey().Marshal())
	}}
	// The library drops the port before it looks for the principal; the real
	// certificates hold host and port.
	hostKey := func(_ string, remote net.Addr, key ssh.PublicKey) error {
		if cert, ok := key.(*ssh.Certificate); ok {
			return checker.CheckCert(w.gateways.Addr().String(), cert)
		}
		return checker.CheckHostKey(remote.String(), remote, key)
	}
	client, err := ssh.Dial("tcp", w.gateways.Addr().String(), &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: hostKey, Timeout: deadline,
	})
	if err == nil {
		t.Cleanup(func() { client.Close() })
	}
	return client, err
}

// gateway logs in and waits until clients can reach it.
func (w *world) gateway(t *testing.T, user string) *ssh.Client {
	t.Helper()
	client, err := w.dial(t, user, user)
	if err != nil {
		t.Fatal(err)
	}
	w.event(t, "login")
	return client
}

func (w *world) client(t *testing.T) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", w.clients.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(deadline))
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

// accept takes the next channel that the relay opens.
func accept(t *testing.T, channels <-chan ssh.NewChannel) (ssh.NewChannel, ssh.Channel) {
	t.Helper()
	select {
	case asked := <-channels:
		channel, requests, err := asked.Accept()
		if err != nil {
			t.Fatal(err)
		}
		go ssh.DiscardRequests(requests)
		return asked, channel
	case <-time.After(deadline):
		t.Fatal("the relay opened no channel")
		return nil, nil
	}
}

func TestChannelPayload(t *testing.T) {
	for _, fields := range []bool{false, true} {
		w := newWorld(t, false)
		w.relay.payloadFields = fields
		channels := w.gateway(t, "gw").HandleChannelOpen("direct-tcpip")
		client := w.client(t)
		asked, channel := accept(t, channels)
		var got directTCPIP
		err := ssh.Unmarshal(asked.ExtraData(), &got)
		switch {
		case !fields && len(asked.ExtraData()) != 0:
			t.Errorf("payload is %x, want none", asked.ExtraData())
		case fields && (err != nil || int(got.OriginPort) != client.LocalAddr().(*net.TCPAddr).Port):
			t.Errorf("payload is %x (%v), want the fields of RFC 4254 section 7.2", asked.ExtraData(), err)
		}
		channel.Close()
	}
}

func TestHalfCloseBothWays(t *testing.T) {
	w := newWorld(t, false)
	channels := w.gateway(t, "gw").HandleChannelOpen("direct-tcpip")

	upFirst := w.client(t)
	_, channel := accept(t, channels)
	io.WriteString(upFirst, "question")
	upFirst.CloseWrite()
	if got, err := io.ReadAll(channel); string(got) != "question" || err != nil {
		t.Fatalf("gateway read %q, %v", got, err)
	}
	io.WriteString(channel, "answer")
	channel.Close()
	if got, err := io.ReadAll(upFirst); string(got) != "answer" || err != nil {
		t.Fatalf("client read %q, %v", got, err)
	}
	closed := w.event(t, "channel-closed")
	if closed["up"] != 8.0 || closed["down"] != 6.0 {
		t.Errorf("logged %v", closed)
	}

	downFirst := w.client(t)
	_, channel = accept(t, channels)
	io.WriteString(channel, "greeting")
	channel.CloseWrite()
	if got, err := io.ReadAll(downFirst); string(got) != "greeting" || err != nil {
		t.Fatalf("client read %q, %v", got, err)
	}
	io.WriteString(downFirst, "farewell")
	downFirst.CloseWrite()
	if got, err := io.ReadAll(channel); string(got) != "farewell" || err != nil {
		t.Fatalf("gateway read %q, %v", got, err)
	}
	channel.Close()
	w.event(t, "channel-closed")
}

func TestOneConnectionPerGateway(t *testing.T) {
	w := newWorld(t, false)
	first := w.gateway(t, "gw")
	second, err := w.dial(t, "gw", "gw")
	if err != nil {
		t.Fatalf("the second login was refused, not accepted and closed: %v", err)
	}
	w.event(t, "duplicate")
	if err := second.Wait(); err == nil {
		t.Error("the second connection ended in peace")
	}
	w.dial(t, "other", "other")
	w.event(t, "login")
	first.Close()
	w.event(t, "logout")
	w.gateway(t, "gw")
}

func TestGlobalRequestsFail(t *testing.T) {
	w := newWorld(t, false)
	ok, _, err := w.gateway(t, "gw").SendRequest("keepalive@openssh.com", true, nil)
	if ok || err != nil {
		t.Errorf("answer %v, %v; want a failure", ok, err)
	}
	if got := w.event(t, "global-request"); got["type"] != "keepalive@openssh.com" {
		t.Errorf("logged %v", got)
	}
}

func TestPrincipalMustBeTheUserName(t *testing.T) {
	w := newWorld(t, false)
	if _, err := w.dial(t, "gw", "another"); err == nil {
		t.Error("logged in with another gateway's certificate")
	}
	w.event(t, "refused")
}

func TestSHA1Signature(t *testing.T) {
	w := newWorld(t, true)
	_, err := w.dial(t, "gw", "gw")
	if err == nil || !strings.Contains(err.Error(), "ssh-rsa") {
		t.Errorf("dial: %v; want a complaint about the algorithm of the signature", err)
	}
}

func TestProbeSeesRefusals(t *testing.T) {
	w := newWorld(t, false)
	w.relay.probing = true
	client, err := w.dial(t, "gw", "gw")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for asked := range client.HandleChannelOpen("direct-tcpip") {
			_, requests, _ := asked.Accept()
			go ssh.DiscardRequests(requests)
		}
	}()
	for range len(probedChannels) + 6 {
		if got := w.event(t, "probe"); got["accepted"] != false {
			t.Errorf("logged %v", got)
		}
	}
	w.event(t, "probed")
}
