package main

import (
	"errors"
	"io"
	"net"
	"sync"

	"golang.org/x/crypto/ssh"
)

// directTCPIP is the type-specific part of RFC 4254 section 7.2, which the real
// relay leaves out.
type directTCPIP struct {
	Host       string
	Port       uint32
	Originator string
	OriginPort uint32
}

// serveClient opens a channel for one TCP client and joins the two.
func (r *relay) serveClient(client *net.TCPConn) {
	defer client.Close()
	from := client.RemoteAddr().String()
	gateway := r.gateway()
	if gateway == nil {
		r.log.Info("no-gateway", "client", from)
		return
	}
	var payload []byte
	if r.payloadFields {
		payload = fieldsFor(client)
	}
	channel, requests, err := gateway.OpenChannel("direct-tcpip", payload)
	if err != nil {
		var refused *ssh.OpenChannelError
		if errors.As(err, &refused) {
			r.log.Info("channel-refused", "client", from, "reason", uint32(refused.Reason), "message", refused.Message)
		} else {
			r.log.Info("channel-failed", "client", from, "error", err.Error())
		}
		return
	}
	r.log.Info("channel-open", "client", from)
	up, down := bridge(client, channel, requests)
	r.log.Info("channel-closed", "client", from, "up", up, "down", down)
}

// bridge copies both ways until the channel is closed. The end of one direction
// is passed on and leaves the other open. It returns the bytes that the channel
// took and gave.
func bridge(client *net.TCPConn, channel ssh.Channel, requests <-chan *ssh.Request) (up, down int64) {
	// Ends when the gateway closes the channel or the connection is lost.
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		ssh.DiscardRequests(requests)
	}()
	var upward sync.WaitGroup
	upward.Add(1)
	go func() {
		defer upward.Done()
		var err error
		if up, err = io.Copy(channel, client); err == nil {
			channel.CloseWrite()
		} else {
			channel.Close()
		}
	}()
	down, err := io.Copy(client, channel)
	if err == nil {
		client.CloseWrite()
	} else {
		channel.Close()
	}
	<-closed
	client.Close() // which also ends the copying upward
	upward.Wait()
	return up, down
}

func fieldsFor(client *net.TCPConn) []byte {
	here := client.LocalAddr().(*net.TCPAddr)
	there := client.RemoteAddr().(*net.TCPAddr)
	return ssh.Marshal(directTCPIP{here.IP.String(), uint32(here.Port), there.IP.String(), uint32(there.Port)})
}
