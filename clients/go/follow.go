package panda

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand"
	"net/http"
	"strings"
	"time"
)

const (
	firstPause   = 250 * time.Millisecond
	longestPause = 15 * time.Second
	// Time without any byte after which a connection is replaced: Panda sends something every 15 s.
	silenceLimit = time.Minute
	// Longest line of an event stream, in bytes.
	longestLine = 4 << 20
)

var errSilent = errors.New("the server is silent")

// Event of a deployment (docs/streaming.md).
type Event struct {
	// Unique id: the same on every connection and every server.
	ID string
	// "stage", "success" or "fail".
	Type string
	// Text for users.
	Message string
	// Facts of a stage event.
	Details map[string]any
}

// FollowOptions are optional.
type FollowOptions struct {
	// Language of the messages, "en" or "ko"; the server's setting when empty.
	Language string
	// LastEventID is the event to resume after; the whole history when empty.
	LastEventID string
	// UntilFinished follows a deployment that awaits its switch, until it is over.
	UntilFinished bool
	// WaitingInterval is that of polls of a deployment that awaits its switch; five seconds when 0.
	WaitingInterval time.Duration
	// OnEvent gets each event once and in order. An error ends following.
	OnEvent func(Event) error
}

// Start starts a deployment. It repeats the request while the server is unreachable; an idempotency key keeps that from starting a second one.
func (c *Client) Start(ctx context.Context, deploy Deploy) (*Deployed, error) {
	key := make([]byte, 16)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	options := &DeployOptions{IdempotencyKey: hex.EncodeToString(key)}
	return persist(c.patience(ctx), func() (*Deployed, error) { return c.Deploy(ctx, deploy, options) })
}

// Wait follows a deployment until it awaits its switch or is over, and returns its result.
func (c *Client) Wait(ctx context.Context, id string) (*DeploymentResult, error) {
	return c.Follow(ctx, id, FollowOptions{})
}

// Follow delivers the events of a deployment, each once and in order, through restarts of the server. It returns the result when the deployment awaits its switch, or is over.
//
// The order of the requests makes the end exact: first the result, then the stream. A status and its events are stored together, so if the stream has nothing after the last
// event (204), every event up to that status was delivered.
func (c *Client) Follow(ctx context.Context, id string, options FollowOptions) (*DeploymentResult, error) {
	patience := c.patience(ctx)
	last := options.LastEventID
	for {
		result, err := persist(patience, func() (*DeploymentResult, error) { return c.DeploymentResult(ctx, id) })
		if err != nil {
			return nil, err
		}
		isEnd, err := c.read(ctx, id, options, &last, patience)
		if err != nil {
			if err := patience.failed(err); err != nil {
				return nil, err
			}
			continue
		}
		wait := 100 * time.Millisecond
		if isEnd && result.Status != "RUNNING" {
			if result.Status != "DEPLOYMENT_READY" || !options.UntilFinished {
				return result, nil
			}
			wait = 5 * time.Second
			if options.WaitingInterval > 0 {
				wait = options.WaitingInterval
			}
		}
		if err := pause(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// stopped is an error of the caller's handler, which ends following.
type stopped struct{ error }

// read reads one connection to its end; true when no event can follow.
func (c *Client) read(ctx context.Context, id string, options FollowOptions, last *string, patience *patience) (bool, error) {
	within, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(silenceLimit, func() { cancel(errSilent) })
	defer silence.Stop()
	response, err := c.DeploymentEvents(within, id, &DeploymentEventsOptions{Lang: options.Language, LastEventId: *last})
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusNoContent {
		return true, nil
	}
	if !strings.HasPrefix(response.Header.Get("Content-Type"), "text/event-stream") {
		return false, errNotPanda
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, longestLine)
	var event Event
	var data string
	for lines.Scan() {
		silence.Reset(silenceLimit)
		name, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case lines.Text() != "":
			switch name {
			case "id":
				event.ID = value
			case "event":
				event.Type = value
			case "data":
				data = value
			}
			continue
		case event.Type != "":
			if err := json.Unmarshal([]byte(data), &event); err != nil {
				return false, stopped{fmt.Errorf("an event is not JSON: is this a Panda? %w", err)}
			}
			patience.answered()
			*last = event.ID
			if options.OnEvent != nil {
				if err := options.OnEvent(event); err != nil {
					return false, stopped{err}
				}
			}
			// The server keeps the stream open for some more seconds, which callers need not wait.
			if event.Type != "stage" {
				return false, nil
			}
		}
		event, data = Event{}, ""
	}
	return false, lines.Err()
}

// UnmarshalJSON reads the data of an event.
func (e *Event) UnmarshalJSON(text []byte) error {
	var data struct {
		Message string         `json:"message"`
		Details map[string]any `json:"details"`
	}
	err := json.Unmarshal(text, &data)
	e.Message, e.Details = data.Message, data.Details
	return err
}

// patience waits while a server is unreachable, for at most the limit after the first failure.
type patience struct {
	ctx      context.Context
	limit    time.Duration
	failures int
	since    time.Time
}

func (c *Client) patience(ctx context.Context) *patience {
	limit := c.UnreachableLimit
	if limit == 0 {
		limit = 2 * time.Minute
	}
	return &patience{ctx: ctx, limit: limit}
}

func (p *patience) answered() { p.failures = 0 }

// failed waits before the next try; it returns the error when it is final or the limit is over.
func (p *patience) failed(err error) error {
	if p.ctx.Err() != nil {
		return context.Cause(p.ctx)
	}
	var final stopped
	if errors.As(err, &final) {
		return final.error
	}
	var refused *Error
	if errors.As(err, &refused) && !refused.Temporary() {
		return err
	}
	if p.failures == 0 {
		p.since = time.Now()
	}
	doubled := min(longestPause, firstPause<<min(p.failures, 10))
	p.failures++
	// Random, so that clients of one server do not return together.
	wait := time.Duration(float64(doubled) * (0.5 + mathrand.Float64()/2))
	if refused != nil {
		wait = max(wait, refused.RetryAfter)
	}
	if time.Since(p.since)+wait > p.limit {
		return err
	}
	return pause(p.ctx, wait)
}

func persist[T any](p *patience, act func() (T, error)) (T, error) {
	for {
		answer, err := act()
		if err == nil {
			p.answered()
			return answer, nil
		}
		if err := p.failed(err); err != nil {
			return answer, err
		}
	}
}

func pause(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
