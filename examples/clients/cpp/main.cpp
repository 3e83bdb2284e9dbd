// A small `motorpool` in C++: motorpool nodes | deploy NAME MODEL | explain NAME | delete NAME

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iomanip>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <google/rpc/status.pb.h>
#include <grpcpp/grpcpp.h>

#include <motorpool/v1/deployment_service.grpc.pb.h>
#include <motorpool/v1/node_service.grpc.pb.h>
#include <motorpool/v1/watch_service.grpc.pb.h>

namespace v1 = motorpool::v1;
using namespace std::chrono_literals;

namespace {

constexpr auto kUsage =
    "usage: motorpool nodes | deploy NAME /path/on/the/nodes/model.gguf | explain NAME | delete NAME";
constexpr auto kTimeout = 20s;
constexpr std::chrono::milliseconds kFirstDelay = 200ms;
constexpr std::chrono::milliseconds kLongestDelay = 5s;
constexpr double kGib = 1 << 30;

// The context of one call that is to be answered soon.
struct Soon : grpc::ClientContext {
  Soon() { set_deadline(std::chrono::system_clock::now() + kTimeout); }
};

// Gives an error with the reason and the fields that the controller attached to it.
std::string Describe(const grpc::Status& status) {
  std::string reason = "code " + std::to_string(status.error_code());
  std::string fields;
  google::rpc::Status attached;
  attached.ParseFromString(status.error_details());
  for (const auto& detail : attached.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::BadRequest request;
    if (detail.UnpackTo(&info)) {
      reason = info.reason();
    } else if (detail.UnpackTo(&request)) {
      for (const auto& violation : request.field_violations()) {
        fields += "\n  " + violation.field() + ": " + violation.description();
      }
    }
  }
  return status.error_message() + " [" + reason + "]" + fields;
}

void Check(const grpc::Status& status) {
  if (!status.ok()) throw std::runtime_error(Describe(status));
}

// RUNNING from INSTANCE_STATE_RUNNING.
std::string Word(const std::string& state) { return state.substr(state.find("_STATE_") + 7); }

std::string Setting(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr || *value == '\0') throw std::runtime_error(name + " is not set");
  return value;
}

std::string Contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A token that goes with every call.
class Bearer : public grpc::MetadataCredentialsPlugin {
 public:
  explicit Bearer(const std::string& token) : value_("Bearer " + token) {}

  grpc::Status GetMetadata(grpc::string_ref, grpc::string_ref, const grpc::AuthContext&,
                           std::multimap<grpc::string, grpc::string>* metadata) override {
    metadata->emplace("authorization", value_);
    return grpc::Status::OK;
  }

 private:
  std::string value_;
};

// The services of one controller, over one channel.
class Client {
 public:
  Client()
      : Client(grpc::CreateChannel(
            Setting("MOTORPOOL_SERVER"),
            grpc::CompositeChannelCredentials(
                grpc::SslCredentials({Contents(Setting("MOTORPOOL_CA_FILE")), "", ""}),
                grpc::MetadataCredentialsFromPlugin(std::make_unique<Bearer>(Setting("MOTORPOOL_TOKEN")))))) {}

  void Nodes() {
    v1::ListNodesRequest request;
    do {
      Soon context;
      v1::ListNodesResponse page;
      Check(nodes_->ListNodes(&context, request, &page));
      for (const auto& node : page.nodes()) {
        std::cout << node.name() << ' ' << Word(v1::NodeState_Name(node.state())) << ' ' << std::fixed
                  << std::setprecision(1) << static_cast<double>(node.host().memory_bytes()) / kGib << " GiB, "
                  << node.devices_size() << " devices" << std::endl;
      }
      request.set_page_token(page.next_page_token());
    } while (!request.page_token().empty());
  }

  // Creates a deployment, and returns when all of its instances run.
  void Deploy(const std::string& id, const std::string& path) {
    v1::WatchRequest watched;
    {
      Soon context;
      v1::ListDeploymentsRequest request;
      request.set_page_size(1);
      v1::ListDeploymentsResponse page;
      Check(deployments_->ListDeployments(&context, request, &page));
      watched.set_resume_token(page.resume_token());  // from before it is made on: nothing of it is missed
    }
    v1::Deployment created;
    {
      Soon context;
      v1::CreateDeploymentRequest request;
      request.set_deployment_id(id);
      request.mutable_deployment()->mutable_spec()->mutable_model()->set_local_path(path);
      Check(deployments_->CreateDeployment(&context, request, &created));
    }
    std::cout << created.name() << " is accepted" << std::endl;
    watched.add_kinds("deployments");
    watched.add_kinds("instances");
    watched.set_deployment(created.name());
    Watch(watched, [&created](const v1::WatchResponse& change) {
      if (change.has_instance()) Show(change.instance());
      if (change.deleted() == created.name()) {
        throw std::runtime_error(created.name() + " was deleted by someone else while it came up");
      }
      return change.deployment().uid() == created.uid() &&
             change.deployment().state() == v1::DEPLOYMENT_STATE_AVAILABLE;
    });
    Soon context;
    v1::GetDeploymentCredentialsRequest request;
    request.set_name(created.name());
    v1::DeploymentCredentials access;
    Check(deployments_->GetDeploymentCredentials(&context, request, &access));
    for (const auto& endpoint : access.endpoints()) std::cout << "answers at " << endpoint << std::endl;
  }

  void Explain(const std::string& id) {
    Soon context;
    v1::ExplainDeploymentRequest request;
    request.set_name("deployments/" + id);
    v1::ExplainDeploymentResponse told;
    Check(deployments_->ExplainDeployment(&context, request, &told));
    for (const auto& each : told.instances()) {
      std::cout << each.instance() << ' ' << Word(v1::InstanceState_Name(each.state())) << ' ' << each.verdict()
                << std::endl;
      for (const auto& refusal : each.refusals()) {
        std::cout << "  " << refusal.reason() << ": " << refusal.message() << std::endl;
      }
    }
  }

  // Deletes a deployment, and returns when nothing of it is left.
  void Delete(const std::string& id) {
    Soon context;
    v1::DeleteDeploymentRequest request;
    request.set_name("deployments/" + id);
    v1::Deployment leaving;
    Check(deployments_->DeleteDeployment(&context, request, &leaving));
    while (IsThere(leaving)) std::this_thread::sleep_for(kFirstDelay);
    std::cout << leaving.name() << " is gone" << std::endl;
  }

 private:
  explicit Client(const std::shared_ptr<grpc::Channel>& channel)
      : nodes_(v1::NodeService::NewStub(channel)),
        deployments_(v1::DeploymentService::NewStub(channel)),
        watches_(v1::WatchService::NewStub(channel)) {}

  bool IsThere(const v1::Deployment& deployment) {
    Soon context;
    v1::GetDeploymentRequest request;
    request.set_name(deployment.name());
    v1::Deployment found;
    const auto status = deployments_->GetDeployment(&context, request, &found);
    if (status.error_code() == grpc::NOT_FOUND) return false;
    Check(status);
    return found.uid() == deployment.uid();
  }

  static void Show(const v1::Instance& instance) {
    std::cout << instance.name() << ' ' << Word(v1::InstanceState_Name(instance.state())) << std::endl;
    if (instance.state() == v1::INSTANCE_STATE_ERROR) {
      throw std::runtime_error(instance.name() + " failed: " + instance.last_failure().message());
    }
  }

  // Hands over every change after the request's resume token until `seen` says that it is enough. A controller that
  // goes away is waited for, and the watch goes on at its bookmark.
  void Watch(v1::WatchRequest request, const std::function<bool(const v1::WatchResponse&)>& seen) {
    for (auto delay = kFirstDelay;; delay = std::min(2 * delay, kLongestDelay)) {
      grpc::ClientContext context;
      const auto stream = watches_->Watch(&context, request);
      for (v1::WatchResponse change; stream->Read(&change);) {
        delay = kFirstDelay;
        if (!change.resume_token().empty()) request.set_resume_token(change.resume_token());
        if (seen(change)) {
          context.TryCancel();
          return;
        }
      }
      const auto status = stream->Finish();
      if (status.error_code() == grpc::OUT_OF_RANGE) {
        request.clear_resume_token();  // away for longer than changes are kept: begin anew with all that exists
      } else if (status.error_code() == grpc::UNAVAILABLE) {
        std::cerr << "the watch broke off, and goes on at its bookmark" << std::endl;
      } else {
        Check(status);
      }
      std::this_thread::sleep_for(delay);
    }
  }

  std::unique_ptr<v1::NodeService::Stub> nodes_;
  std::unique_ptr<v1::DeploymentService::Stub> deployments_;
  std::unique_ptr<v1::WatchService::Stub> watches_;
};

}  // namespace

int main(int count, char** arguments) {
  const std::vector<std::string> words(arguments + 1, arguments + count);
  const std::string command = words.empty() ? "" : words[0];
  try {
    if (command == "nodes" && words.size() == 1) {
      Client().Nodes();
    } else if (command == "deploy" && words.size() == 3) {
      Client().Deploy(words[1], words[2]);
    } else if (command == "explain" && words.size() == 2) {
      Client().Explain(words[1]);
    } else if (command == "delete" && words.size() == 2) {
      Client().Delete(words[1]);
    } else {
      std::cerr << kUsage << std::endl;
      return 2;
    }
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << std::endl;
    return 1;
  }
}
