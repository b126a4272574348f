package panda

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

const id = "dep_1"

// answer is one scripted answer of a server.
type answer func(http.ResponseWriter)

type seen struct{ query, key, authorization, body string }

// scripted answers each request with the next of its answers for that path, and the last one again.
type scripted struct {
	*httptest.Server
	mutex   sync.Mutex
	answers map[string][]answer
	seen    map[string][]seen
}

func serve(t *testing.T, answers map[string][]answer) (*scripted, *Client) {
	server := &scripted{answers: answers, seen: map[string][]seen{}}
	server.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		server.mutex.Lock()
		path := r.URL.Path
		server.seen[path] = append(server.seen[path], seen{r.URL.RawQuery, r.Header.Get("Idempotency-Key"), r.Header.Get("Authorization"), string(body)})
		next := server.answers[path]
		if len(next) > 1 {
			server.answers[path] = next[1:]
		}
		server.mutex.Unlock()
		if len(next) == 0 {
			problem(404, "NOT_FOUND")(w)
			return
		}
		next[0](w)
	}))
	t.Cleanup(server.Close)
	return server, &Client{Server: server.URL, UnreachableLimit: 5 * time.Second}
}

func data(value any) answer {
	return func(w http.ResponseWriter) {
		_ = json.NewEncoder(w).Encode(map[string]any{"code": 200, "message": "…", "data": value})
	}
}

func result(status string) answer {
	return data(map[string]any{"deploymentId": id, "status": status})
}

func problem(status int, code string) answer {
	return func(w http.ResponseWriter) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"status": status, "errorCode": code, "message": "because of " + code, "field": "branch"})
	}
}

func page(status int) answer {
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		_, _ = w.Write([]byte("<html>"))
	}
}

func none(w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) }

func cut(http.ResponseWriter) { panic(http.ErrAbortHandler) }

func event(id, kind, message string) string {
	return fmt.Sprintf("id: %s\nevent: %s\ndata: {\"message\":%q,\"details\":{\"stage\":1}}\n\n", id, kind, message)
}

func stream(parts string, then answer) answer {
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = w.Write([]byte(parts))
		w.(http.Flusher).Flush()
		if then != nil {
			then(w)
		}
	}
}

func TestErrorsHaveCodeFieldAndText(t *testing.T) {
	_, client := serve(t, map[string][]answer{"/api/v1/deploy": {problem(400, "INVALID_FIELD")}, "/api/v1/connections": {page(502)}})
	var refused *Error
	if _, err := client.Start(context.Background(), Deploy{}); !errors.As(err, &refused) || refused.Code != "INVALID_FIELD" || *refused.Problem.Field != "branch" || refused.Temporary() {
		t.Fatal(err)
	}
	if _, err := client.ListConnections(context.Background()); !errors.As(err, &refused) || refused.Code != "" || !refused.Temporary() {
		t.Fatal(err)
	}
}

func TestRepeatedStartHasTheSameKey(t *testing.T) {
	deployed := data(map[string]any{"deploymentId": id, "startedAt": "2026-01-31T09:30:00.123Z"})
	server, client := serve(t, map[string][]answer{"/api/v1/deploy": {cut, page(502), page(200), deployed}})
	count := 0
	client.Token = func(context.Context) (string, error) { count++; return fmt.Sprint("token-", count), nil }
	started, err := client.Start(context.Background(), Deploy{Owner: "acme"})
	if err != nil || started.DeploymentId != id {
		t.Fatal(started, err)
	}
	sent := server.seen["/api/v1/deploy"]
	if len(sent) != 4 || sent[0].key == "" || sent[3].authorization != "Bearer token-4" {
		t.Fatal(sent)
	}
	for _, one := range sent {
		if one.key != sent[0].key || one.body != `{"awsConnectionId":"","githubConnectionId":"","owner":"acme","repo":""}` {
			t.Fatal(one)
		}
	}
}

func TestEventsOnceAndInOrderThroughOutages(t *testing.T) {
	server, client := serve(t, map[string][]answer{
		"/api/v1/deploy/dep_1/result": {result("RUNNING"), cut, page(200), result("RUNNING"), result("RUNNING"), result("RUNNING"), result("DEPLOYMENT_READY")},
		"/api/v1/deploy/dep_1/events": {
			stream(event("a", "stage", "one")+": keep-alive\n\n"+event("b", "stage", "two")+"id: c\nevent: stage\nda", cut),
			page(502), page(200), stream(event("c", "stage", "한글 🐼"), nil), stream(event("d", "success", "ready"), nil), none,
		},
	})
	var events []string
	print := func(event Event) error {
		events = append(events, event.ID+" "+event.Type+" "+event.Message)
		return nil
	}
	end, err := client.Follow(context.Background(), id, FollowOptions{Language: "en", OnEvent: print})
	if err != nil || end.Status != "DEPLOYMENT_READY" {
		t.Fatal(end, err)
	}
	if want := []string{"a stage one", "b stage two", "c stage 한글 🐼", "d success ready"}; !reflect.DeepEqual(events, want) {
		t.Fatal(events)
	}
	var queries []string
	for _, one := range server.seen["/api/v1/deploy/dep_1/events"] {
		queries = append(queries, strings.TrimPrefix(one.query, "lang=en&lastEventId="))
	}
	if want := []string{"lang=en", "b", "b", "b", "c", "d"}; !reflect.DeepEqual(queries, want) {
		t.Fatal(queries)
	}
}

func TestFollowingEnds(t *testing.T) {
	enough := errors.New("enough")
	open := func(http.ResponseWriter) { time.Sleep(50 * time.Millisecond) }
	answers := func(status string, events ...answer) map[string][]answer {
		return map[string][]answer{"/api/v1/deploy/dep_1/result": {result(status)}, "/api/v1/deploy/dep_1/events": events}
	}
	cases := map[string]struct {
		answers map[string][]answer
		options FollowOptions
		want    func(error) bool
	}{
		"a refusal":               {answers("RUNNING", problem(401, "NOT_SIGNED_IN")), FollowOptions{}, func(err error) bool { var e *Error; return errors.As(err, &e) && e.Code == "NOT_SIGNED_IN" }},
		"an error of the handler": {answers("RUNNING", stream(event("a", "stage", "one"), open)), FollowOptions{OnEvent: func(Event) error { return enough }}, func(err error) bool { return err == enough }},
		"no JSON":                 {answers("RUNNING", stream("id: a\nevent: stage\ndata: no\n\n", nil)), FollowOptions{}, func(err error) bool { return strings.Contains(fmt.Sprint(err), "is this a Panda?") }},
		"finished":                {answers("FAILED", none), FollowOptions{UntilFinished: true}, func(err error) bool { return err == nil }},
		"unreachable":             {map[string][]answer{"/api/v1/deploy/dep_1/result": {cut}}, FollowOptions{}, func(err error) bool { return errors.Is(err, io.EOF) }},
	}
	for name, one := range cases {
		_, client := serve(t, one.answers)
		client.UnreachableLimit = 500 * time.Millisecond
		if _, err := client.Follow(context.Background(), id, one.options); !one.want(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, client := serve(t, answers("RUNNING", stream(event("a", "stage", "one"), open)))
	ctx, cancel := context.WithCancelCause(context.Background())
	stop := func(Event) error { cancel(enough); return nil }
	if _, err := client.Follow(ctx, id, FollowOptions{OnEvent: stop}); err != enough {
		t.Error(err)
	}
}
