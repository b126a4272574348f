// Package panda is a client of Panda's API. Calls and types are generated from its OpenAPI document; starting and following a deployment are written by hand.
package panda

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// Time limit of a call, beside event streams and other responses that the caller reads.
	callLimit = 30 * time.Second
	// Longest response of a call, in bytes.
	longestResponse = 64 << 20
	// Longest wait that a server's Retry-After can cause.
	longestRetryAfter = time.Minute
)

// Client is a Panda server.
type Client struct {
	// Address of Panda, such as https://panda.example.com, with its base path if it has one.
	Server string
	// Token returns the credential of the next request; nil sends none. See [StaticToken].
	Token func(context.Context) (string, error)
	// Language of errors, "en" or "ko"; English when empty.
	Language string
	// HTTP sends the requests; [http.DefaultClient] when nil.
	HTTP *http.Client
	// UnreachableLimit is the time for which an unreachable server is tried again by [Client.Start], [Client.Follow] and [Client.Wait]; two minutes when 0.
	UnreachableLimit time.Duration
}

// StaticToken is a token that does not expire during the work.
func StaticToken(token string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return token, nil }
}

// Error is a response that is not a success.
type Error struct {
	// Status of HTTP.
	Status int
	// Code is Panda's stable code (docs/errors.md); empty when a proxy answered.
	Code string
	// Problem is the whole problem; nil when a proxy answered.
	Problem *Problem
	// RetryAfter is the wait that the server asks for, or 0.
	RetryAfter time.Duration
}

func (e *Error) Error() string {
	if e.Problem == nil {
		return fmt.Sprintf("the server returned %d, without a problem of Panda", e.Status)
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Problem.Message)
}

// Temporary reports whether the same request may succeed later.
func (e *Error) Temporary() bool {
	return e.Status >= 500 || e.Status == http.StatusRequestTimeout || e.Status == http.StatusTooEarly || e.Status == http.StatusTooManyRequests
}

// errNotPanda is a success that Panda did not send, such as a proxy's page while Panda restarts.
var errNotPanda = errors.New("the response is not one of Panda")

type request struct {
	method, address string
	parameters      url.Values
	headers         http.Header
	body            any
}

func newRequest(method, address string) *request {
	return &request{method: method, address: address, parameters: url.Values{}, headers: http.Header{}}
}

func (r *request) path(name, value string) {
	r.address = strings.ReplaceAll(r.address, "{"+name+"}", url.PathEscape(value))
}

func (r *request) query(name string, value any) {
	if text := fmt.Sprint(value); text != "" && text != "0" && text != "false" {
		r.parameters.Set(name, text)
	}
}

func (r *request) header(name, value string) {
	if value != "" {
		r.headers.Set(name, value)
	}
}

// send makes a call and returns the data of its response.
func send[T any](ctx context.Context, c *Client, r *request) (*T, error) {
	within, cancel := context.WithTimeoutCause(ctx, callLimit, errSilent)
	defer cancel()
	response, err := c.open(within, r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var envelope struct {
		Data *T `json:"data"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, longestResponse)).Decode(&envelope); err != nil || envelope.Data == nil {
		return nil, errors.Join(errNotPanda, err)
	}
	return envelope.Data, nil
}

// open makes a call whose response the caller reads and closes.
func (c *Client) open(ctx context.Context, r *request) (*http.Response, error) {
	address := strings.TrimRight(c.Server, "/") + r.address
	if len(r.parameters) > 0 {
		address += "?" + r.parameters.Encode()
	}
	var body io.Reader
	if r.body != nil {
		text, err := json.Marshal(r.body)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(text)
		r.headers.Set("Content-Type", "application/json")
	}
	sent, err := http.NewRequestWithContext(ctx, r.method, address, body)
	if err != nil {
		return nil, err
	}
	sent.Header = r.headers
	if c.Language != "" {
		sent.Header.Set("Accept-Language", c.Language)
	}
	if c.Token != nil {
		token, err := c.Token(ctx)
		if err != nil {
			return nil, err
		}
		sent.Header.Set("Authorization", "Bearer "+token)
	}
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	response, err := client.Do(sent)
	if err != nil {
		return nil, err
	}
	if response.StatusCode < 300 {
		return response, nil
	}
	defer response.Body.Close()
	return nil, failure(response)
}

func failure(response *http.Response) error {
	failed := &Error{Status: response.StatusCode}
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 {
		failed.RetryAfter = min(time.Duration(seconds)*time.Second, longestRetryAfter)
	}
	var problem Problem
	if json.NewDecoder(io.LimitReader(response.Body, longestResponse)).Decode(&problem) == nil && problem.ErrorCode != "" {
		failed.Problem, failed.Code = &problem, problem.ErrorCode
	}
	return failed
}
