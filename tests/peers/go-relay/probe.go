package main

import (
	"errors"

	"golang.org/x/crypto/ssh"
)

// probedChannels are the types that a gateway serves none of. It asked for no
// forwarding here, so forwarded-tcpip is one of them.
var probedChannels = []string{"session", "x11", "forwarded-tcpip", "auth-agent@openssh.com", "no-such-type@example.com"}

// probe asks a gateway for everything that it must refuse, one after the other,
// logs each answer, and ends with "probed".
func (r *relay) probe(conn *ssh.ServerConn) {
	for _, kind := range probedChannels {
		r.probeChannel(conn, kind)
	}
	for _, kind := range []string{"hostkeys-00@openssh.com", "keepalive@openssh.com", "no-such-request@example.com"} {
		ok, _, err := conn.SendRequest(kind, true, nil)
		r.logAnswer("global-request", kind, ok, err)
	}
	// RFC 4254 section 4: without want-reply, the request is passed over in silence.
	conn.SendRequest("no-such-request@example.com", false, nil)
	r.probeChannelRequests(conn)
	r.log.Info("probed", "user", conn.User())
}

func (r *relay) probeChannel(conn *ssh.ServerConn, kind string) {
	channel, requests, err := conn.OpenChannel(kind, nil)
	var refused *ssh.OpenChannelError
	switch {
	case err == nil:
		go ssh.DiscardRequests(requests)
		channel.Close()
		r.log.Info("probe", "of", "channel", "type", kind, "accepted", true)
	case errors.As(err, &refused):
		r.log.Info("probe", "of", "channel", "type", kind, "accepted", false, "reason", uint32(refused.Reason))
	default:
		r.log.Info("probe", "of", "channel", "type", kind, "error", err.Error())
	}
}

// probeChannelRequests sends the requests of a session on a channel that is none.
func (r *relay) probeChannelRequests(conn *ssh.ServerConn) {
	channel, requests, err := conn.OpenChannel("direct-tcpip", nil)
	if err != nil {
		r.log.Info("probe", "of", "channel", "type", "direct-tcpip", "error", err.Error())
		return
	}
	go ssh.DiscardRequests(requests)
	defer channel.Close()
	command := ssh.Marshal(struct{ Command string }{"true"})
	if _, err := channel.SendRequest("exec", false, command); err != nil {
		r.logAnswer("channel-request", "exec", false, err)
		return
	}
	for _, kind := range []string{"exec", "shell", "no-such-request@example.com"} {
		ok, err := channel.SendRequest(kind, true, command)
		r.logAnswer("channel-request", kind, ok, err)
	}
}

func (r *relay) logAnswer(what, kind string, accepted bool, err error) {
	if err != nil {
		r.log.Info("probe", "of", what, "type", kind, "error", err.Error())
		return
	}
	r.log.Info("probe", "of", what, "type", kind, "accepted", accepted)
}
