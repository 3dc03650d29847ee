package main

import (
	"bytes"
	"log/slog"
	"net"
	"sync"

	"golang.org/x/crypto/ssh"
)

// signatureExtension is where the user's signature algorithm is kept between
// authentication and the log.
const signatureExtension = "signature-algorithm"

// relay keeps at most one SSH connection for each gateway id, as the real one
// does, and leads TCP clients to them.
type relay struct {
	log *slog.Logger
	// configure makes the server's side of one connection.
	configure func() (*ssh.ServerConfig, error)
	// gatewayID is the gateway that clients reach; empty means any.
	gatewayID string
	// payloadFields sends the fields of RFC 4254 section 7.2 with direct-tcpip.
	payloadFields bool
	// probing asks each gateway for what it must refuse.
	probing bool

	mu       sync.Mutex
	gateways map[string]*ssh.ServerConn
}

func newRelay(log *slog.Logger, configure func() (*ssh.ServerConfig, error)) *relay {
	return &relay{log: log, configure: configure, gateways: make(map[string]*ssh.ServerConn)}
}

// serverConfig lets in whoever holds a user certificate that the CA signed and
// that lists the SSH user name, the gateway id, among its principals.
func serverConfig(host ssh.Signer, userCA ssh.PublicKey) *ssh.ServerConfig {
	checker := &ssh.CertChecker{
		IsUserAuthority: func(authority ssh.PublicKey) bool {
			return bytes.Equal(authority.Marshal(), userCA.Marshal())
		},
	}
	config := &ssh.ServerConfig{
		PublicKeyCallback: checker.Authenticate,
		VerifiedPublicKeyCallback: func(_ ssh.ConnMetadata, _ ssh.PublicKey, _ *ssh.Permissions, algorithm string) (*ssh.Permissions, error) {
			return &ssh.Permissions{Extensions: map[string]string{signatureExtension: algorithm}}, nil
		},
	}
	config.AddHostKey(host)
	return config
}

// serveGateway runs one gateway's SSH connection from handshake to end.
func (r *relay) serveGateway(tcp *net.TCPConn) {
	config, err := r.configure()
	if err != nil {
		r.log.Error("misconfigured", "error", err.Error())
		tcp.Close()
		return
	}
	conn, channels, requests, err := ssh.NewServerConn(tcp, config)
	if err != nil {
		r.log.Info("refused", "error", err.Error())
		return
	}
	go r.refuseChannels(channels)
	go r.refuseRequests(requests)
	if !r.register(conn) {
		// The id is taken, perhaps by a connection whose other end is long gone:
		// the relay cannot tell, and turns the newcomer away without a word.
		r.log.Info("duplicate", "user", conn.User())
		conn.Close()
		return
	}
	algorithms := conn.Conn.(ssh.AlgorithmsConnMetadata).Algorithms()
	r.log.Info("login", "user", conn.User(), "version", string(conn.ClientVersion()),
		"signature", conn.Permissions.Extensions[signatureExtension],
		"kex", algorithms.KeyExchange, "host-key", algorithms.HostKey, "cipher", algorithms.Read.Cipher)
	if r.probing {
		go r.probe(conn)
	}
	// A DISCONNECT message arrives here as an error that holds its reason.
	err = conn.Wait()
	r.unregister(conn)
	r.log.Info("logout", "user", conn.User(), "error", err.Error())
}

// register claims the connection's gateway id, or returns false if it is taken.
func (r *relay) register(conn *ssh.ServerConn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gateways[conn.User()] != nil {
		return false
	}
	r.gateways[conn.User()] = conn
	return true
}

func (r *relay) unregister(conn *ssh.ServerConn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.gateways, conn.User())
}

// gateway returns the connection that clients reach, or nil while there is none.
func (r *relay) gateway() *ssh.ServerConn {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gatewayID != "" {
		return r.gateways[r.gatewayID]
	}
	for _, conn := range r.gateways {
		return conn
	}
	return nil
}

// refuseChannels: a gateway opens none.
func (r *relay) refuseChannels(channels <-chan ssh.NewChannel) {
	for channel := range channels {
		r.log.Info("channel-asked", "type", channel.ChannelType())
		channel.Reject(ssh.Prohibited, "gateways open no channels")
	}
}

// refuseRequests answers every global request, keepalives too, with a failure.
func (r *relay) refuseRequests(requests <-chan *ssh.Request) {
	for request := range requests {
		r.log.Info("global-request", "type", request.Type, "want-reply", request.WantReply)
		request.Reply(false, nil)
	}
}
