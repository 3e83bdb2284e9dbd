// A small `motorpool` in Go: motorpool nodes | deploy NAME MODEL | explain NAME | delete NAME
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	v1 "motorpool.example/v1"
)

const (
	usage        = "usage: motorpool nodes | deploy NAME /path/on/the/nodes/model.gguf | explain NAME | delete NAME"
	callTimeout  = 20 * time.Second
	firstDelay   = 200 * time.Millisecond
	longestDelay = 5 * time.Second
	gib          = 1 << 30
)

// client is the services of one controller over one channel.
type client struct {
	nodes       v1.NodeServiceClient
	deployments v1.DeploymentServiceClient
	watches     v1.WatchServiceClient
}

// bearer is a token that goes with every call, and never over a channel without TLS.
type bearer string

func (token bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(token)}, nil
}

func (bearer) RequireTransportSecurity() bool { return true }

// connect opens a channel to MOTORPOOL_SERVER, whose certificate MOTORPOOL_CA_FILE vouches for.
func connect() (*client, error) {
	for _, name := range []string{"MOTORPOOL_SERVER", "MOTORPOOL_CA_FILE", "MOTORPOOL_TOKEN"} {
		if os.Getenv(name) == "" {
			return nil, fmt.Errorf("%s is not set", name)
		}
	}
	transport, err := credentials.NewClientTLSFromFile(os.Getenv("MOTORPOOL_CA_FILE"), "")
	if err != nil {
		return nil, err
	}
	channel, err := grpc.Dial(
		os.Getenv("MOTORPOOL_SERVER"),
		grpc.WithTransportCredentials(transport),
		grpc.WithPerRPCCredentials(bearer(os.Getenv("MOTORPOOL_TOKEN"))),
	)
	if err != nil {
		return nil, err
	}
	return &client{
		v1.NewNodeServiceClient(channel), v1.NewDeploymentServiceClient(channel), v1.NewWatchServiceClient(channel),
	}, nil
}

func (c *client) listNodes() error {
	for token := ""; ; {
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		page, err := c.nodes.ListNodes(ctx, &v1.ListNodesRequest{PageToken: token})
		cancel()
		if err != nil {
			return err
		}
		for _, node := range page.Nodes {
			state := strings.TrimPrefix(node.State.String(), "NODE_STATE_")
			memory := float64(node.GetHost().GetMemoryBytes()) / gib
			fmt.Printf("%s %s %.1f GiB, %d devices\n", node.Name, state, memory, len(node.Devices))
		}
		if token = page.NextPageToken; token == "" {
			return nil
		}
	}
}

// deploy creates a deployment, and returns when all of its instances run.
func (c *client) deploy(id, path string) error {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	list, err := c.deployments.ListDeployments(ctx, &v1.ListDeploymentsRequest{PageSize: 1})
	if err != nil {
		return err
	}
	source := &v1.ModelSource{Source: &v1.ModelSource_LocalPath{LocalPath: path}}
	created, err := c.deployments.CreateDeployment(ctx, &v1.CreateDeploymentRequest{
		DeploymentId: id,
		Deployment:   &v1.Deployment{Spec: &v1.DeploymentSpec{Model: source}},
	})
	if err != nil {
		return err
	}
	fmt.Printf("%s is accepted\n", created.Name)

	// From before it was made on: nothing of it is missed.
	request := &v1.WatchRequest{
		Kinds: []string{"deployments", "instances"}, Deployment: created.Name, ResumeToken: list.ResumeToken,
	}
	err = c.watch(request, func(change *v1.WatchResponse) (bool, error) {
		if instance := change.GetInstance(); instance != nil {
			fmt.Printf("%s %s\n", instance.Name, strings.TrimPrefix(instance.State.String(), "INSTANCE_STATE_"))
			if instance.State == v1.InstanceState_INSTANCE_STATE_ERROR {
				return false, fmt.Errorf("%s failed: %s", instance.Name, instance.GetLastFailure().GetMessage())
			}
		}
		if change.GetDeleted() == created.Name {
			return false, fmt.Errorf("%s was deleted by someone else while it came up", created.Name)
		}
		deployment := change.GetDeployment()
		return deployment.GetUid() == created.Uid &&
			deployment.GetState() == v1.DeploymentState_DEPLOYMENT_STATE_AVAILABLE, nil
	})
	if err != nil {
		return err
	}
	ctx, cancel = context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	access, err := c.deployments.GetDeploymentCredentials(ctx, &v1.GetDeploymentCredentialsRequest{Name: created.Name})
	if err == nil {
		fmt.Printf("answers at %s\n", strings.Join(access.Endpoints, ", "))
	}
	return err
}

func (c *client) explain(id string) error {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	told, err := c.deployments.ExplainDeployment(ctx, &v1.ExplainDeploymentRequest{Name: "deployments/" + id})
	if err != nil {
		return err
	}
	for _, each := range told.Instances {
		fmt.Printf("%s %s %s\n", each.Instance, strings.TrimPrefix(each.State.String(), "INSTANCE_STATE_"), each.Verdict)
		for _, refusal := range each.Refusals {
			fmt.Printf("  %s: %s\n", refusal.Reason, refusal.Message)
		}
	}
	return nil
}

// remove deletes a deployment, and returns when nothing of it is left.
func (c *client) remove(id string) error {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	leaving, err := c.deployments.DeleteDeployment(ctx, &v1.DeleteDeploymentRequest{Name: "deployments/" + id})
	if err != nil {
		return err
	}
	for {
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		found, err := c.deployments.GetDeployment(ctx, &v1.GetDeploymentRequest{Name: leaving.Name})
		cancel()
		if status.Code(err) == codes.NotFound || err == nil && found.Uid != leaving.Uid {
			fmt.Printf("%s is gone\n", leaving.Name)
			return nil
		} else if err != nil {
			return err
		}
		time.Sleep(firstDelay)
	}
}

// watch hands over every change after request.ResumeToken until seen says that it is enough. A controller that goes away
// is waited for, and the watch goes on at its bookmark.
func (c *client) watch(request *v1.WatchRequest, seen func(*v1.WatchResponse) (bool, error)) error {
	for delay := firstDelay; ; {
		ctx, cancel := context.WithCancel(context.Background())
		stream, err := c.watches.Watch(ctx, request)
		for err == nil {
			var change *v1.WatchResponse
			if change, err = stream.Recv(); err != nil {
				break
			}
			delay = firstDelay
			if change.ResumeToken != "" {
				request.ResumeToken = change.ResumeToken
			}
			if enough, err := seen(change); enough || err != nil {
				cancel()
				return err
			}
		}
		cancel()
		switch code := status.Code(err); code {
		case codes.OutOfRange: // away for longer than changes are kept: begin anew with all that exists
			request.ResumeToken = ""
		case codes.Unavailable:
			fmt.Fprintf(os.Stderr, "the watch broke off, and goes on at its bookmark\n")
		default:
			return err
		}
		time.Sleep(delay)
		if delay *= 2; delay > longestDelay {
			delay = longestDelay
		}
	}
}

// describe gives an error with the reason and the fields that the controller attached to it.
func describe(err error) string {
	answer, ok := status.FromError(err)
	if !ok {
		return err.Error()
	}
	reason, fields := answer.Code().String(), ""
	for _, detail := range answer.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			reason = detail.Reason
		case *errdetails.BadRequest:
			for _, violation := range detail.FieldViolations {
				fields += fmt.Sprintf("\n  %s: %s", violation.Field, violation.Description)
			}
		}
	}
	return fmt.Sprintf("%s [%s]%s", answer.Message(), reason, fields)
}

func main() {
	words := append(os.Args[1:], "", "", "")
	c, err := connect()
	if err == nil {
		switch command, count := words[0], len(os.Args)-1; {
		case command == "nodes" && count == 1:
			err = c.listNodes()
		case command == "deploy" && count == 3:
			err = c.deploy(words[1], words[2])
		case command == "explain" && count == 2:
			err = c.explain(words[1])
		case command == "delete" && count == 2:
			err = c.remove(words[1])
		default:
			fmt.Fprintln(os.Stderr, usage)
			os.Exit(2)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error: "+describe(err))
		os.Exit(1)
	}
}
