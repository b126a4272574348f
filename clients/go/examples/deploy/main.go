// Deploys a connected repository, follows it until it is ready, switches the traffic and follows that.
//
//	PANDA_SERVER=https://panda.example.com PANDA_TOKEN=… go run ./examples/deploy acme/shop
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"

	panda "github.com/panda-deploy/panda/clients/go"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "give the repository as owner/name")
		os.Exit(2)
	}
	if err := deploy(ctx, os.Args[1]); err != nil {
		// A refusal has a stable code, and a text with the remedy.
		var refused *panda.Error
		if errors.As(err, &refused) && refused.Code == "TARGET_TAKEN" {
			fmt.Fprintln(os.Stderr, "another deployment is not finished:", *refused.Problem.DeploymentId)
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func deploy(ctx context.Context, repository string) error {
	client := &panda.Client{Server: os.Getenv("PANDA_SERVER"), Language: "en"}
	if token := os.Getenv("PANDA_TOKEN"); token != "" {
		client.Token = panda.StaticToken(token)
	}
	owner, repo, _ := strings.Cut(repository, "/")
	connections, err := client.ListConnections(ctx)
	if err != nil {
		return err
	}
	request := panda.Deploy{Owner: owner, Repo: repo}
	for _, source := range connections.Github {
		if source.Owner == owner && source.Repo == repo {
			request.GithubConnectionId, request.Branch = source.ConnectionId, &source.Branch
		}
	}
	if request.GithubConnectionId == "" || len(connections.Aws) == 0 {
		return fmt.Errorf("%s or an account is not connected", repository)
	}
	request.AwsConnectionId = connections.Aws[0].ConnectionId

	started, err := client.Start(ctx, request)
	if err != nil {
		return err
	}
	print := func(event panda.Event) error {
		fmt.Println(event.Message)
		return nil
	}
	ready, err := client.Follow(ctx, started.DeploymentId, panda.FollowOptions{Language: "en", OnEvent: print})
	if err != nil {
		return err
	}
	if ready.Status != "DEPLOYMENT_READY" {
		return fmt.Errorf("%s: %s", *ready.ErrorCode, *ready.ErrorMessage)
	}
	// Only if the image that was looked at is the one that is ready.
	reviewed := &panda.SwitchRequest{ImageDigest: ready.ImageDigest}
	if _, err := client.SwitchDeployment(ctx, started.DeploymentId, reviewed, nil); err != nil {
		return err
	}
	end, err := client.Follow(ctx, started.DeploymentId, panda.FollowOptions{UntilFinished: true})
	if err != nil {
		return err
	}
	if end.Status != "COMPLETED" {
		return fmt.Errorf("%s: %s", *end.ErrorCode, *end.ErrorMessage)
	}
	fmt.Println(end.DeploymentId, end.Status, *end.FinalService, *ready.ImageDigest)
	return nil
}
