#!/usr/bin/env ruby
# A small `motorpool` in Ruby: ruby -I build motorpool.rb nodes | deploy NAME MODEL | explain NAME | delete NAME
# frozen_string_literal: true

require "grpc"
require "google/protobuf/well_known_types"
require "google/rpc/error_details_pb"
require "google/rpc/status_pb"
require "motorpool/v1/deployment_service_services_pb"
require "motorpool/v1/node_service_services_pb"
require "motorpool/v1/watch_service_services_pb"

V1 = Motorpool::V1
USAGE = "usage: motorpool.rb nodes | deploy NAME /path/on/the/nodes/model.gguf | explain NAME | delete NAME"
TIMEOUT_SECONDS = 20
FIRST_DELAY_SECONDS = 0.2
LONGEST_DELAY_SECONDS = 5
GIB = 2.0**30

# What this program itself has to say against going on.
class Failure < StandardError; end

# The services of one controller, over one channel.
class Client
  def initialize(server:, ca_file:, token:)
    bearer = GRPC::Core::CallCredentials.new(->(_call) { { authorization: "Bearer #{token}" } })
    credentials = GRPC::Core::ChannelCredentials.new(File.read(ca_file)).compose(bearer)
    channel = GRPC::Core::Channel.new(server, {}, credentials)
    @nodes, @deployments, @watches = [V1::NodeService, V1::DeploymentService, V1::WatchService].map do |service|
      service::Stub.new(server, nil, channel_override: channel)
    end
  end

  def nodes
    page_token = ""
    loop do
      page = @nodes.list_nodes(V1::ListNodesRequest.new(page_token: page_token), deadline: soon)
      page.nodes.each do |node|
        memory = format("%.1f GiB", (node.host&.memory_bytes || 0) / GIB)
        puts "#{node.name} #{word(node.state)} #{memory}, #{node.devices.size} devices"
      end
      return if (page_token = page.next_page_token).empty?
    end
  end

  # Creates a deployment, and returns when all of its instances run.
  def deploy(id, path)
    bookmark = @deployments.list_deployments(V1::ListDeploymentsRequest.new(page_size: 1), deadline: soon).resume_token
    spec = V1::DeploymentSpec.new(model: V1::ModelSource.new(local_path: path))
    request = V1::CreateDeploymentRequest.new(deployment_id: id, deployment: V1::Deployment.new(spec: spec))
    created = @deployments.create_deployment(request, deadline: soon)
    puts "#{created.name} is accepted"
    # From before it was made on: nothing of it is missed.
    watch(bookmark, kinds: %w[deployments instances], deployment: created.name) do |change|
      show(change.instance) if change.instance
      raise Failure, "#{created.name} was deleted by someone else while it came up" if change.deleted == created.name

      break if change.deployment&.uid == created.uid && change.deployment.state == :DEPLOYMENT_STATE_AVAILABLE
    end
    access = V1::GetDeploymentCredentialsRequest.new(name: created.name)
    puts "answers at #{@deployments.get_deployment_credentials(access, deadline: soon).endpoints.to_a.join(', ')}"
  end

  def explain(id)
    request = V1::ExplainDeploymentRequest.new(name: "deployments/#{id}")
    @deployments.explain_deployment(request, deadline: soon).instances.each do |each|
      puts "#{each.instance} #{word(each.state)} #{each.verdict}"
      each.refusals.each { |refusal| puts "  #{refusal.reason}: #{refusal.message}" }
    end
  end

  # Deletes a deployment, and returns when nothing of it is left.
  def delete(id)
    request = V1::DeleteDeploymentRequest.new(name: "deployments/#{id}")
    leaving = @deployments.delete_deployment(request, deadline: soon)
    sleep FIRST_DELAY_SECONDS while there?(leaving)
    puts "#{leaving.name} is gone"
  end

  private

  def there?(deployment)
    found = @deployments.get_deployment(V1::GetDeploymentRequest.new(name: deployment.name), deadline: soon)
    found.uid == deployment.uid
  rescue GRPC::NotFound
    false
  end

  def show(instance)
    puts "#{instance.name} #{word(instance.state)}"
    return unless instance.state == :INSTANCE_STATE_ERROR

    raise Failure, "#{instance.name} failed: #{instance.last_failure&.message}"
  end

  # Gives every change after the bookmark. A controller that goes away is waited for, and the watch goes on at its
  # bookmark. Break out of the block to end it.
  def watch(bookmark, **filter)
    delay = FIRST_DELAY_SECONDS
    loop do
      begin
        @watches.watch(V1::WatchRequest.new(resume_token: bookmark, **filter)).each do |change|
          bookmark = change.resume_token unless change.resume_token.empty?
          delay = FIRST_DELAY_SECONDS
          yield change
        end
      rescue GRPC::OutOfRange # away for longer than changes are kept: begin anew with all that exists
        bookmark = ""
      rescue GRPC::Unavailable
        warn "the watch broke off, and goes on at its bookmark"
      end
      sleep delay
      delay = [2 * delay, LONGEST_DELAY_SECONDS].min
    end
  end

  def soon = Time.now + TIMEOUT_SECONDS

  # RUNNING from :INSTANCE_STATE_RUNNING.
  def word(state) = state.to_s.sub(/\A[A-Z]+_STATE_/, "")
end

# Gives an error with the reason and the fields that the controller attached to it.
def describe(error)
  reason = error.class.name.split("::").last
  fields = []
  Array(error.to_rpc_status&.details).each do |detail|
    if detail.is(Google::Rpc::ErrorInfo)
      reason = detail.unpack(Google::Rpc::ErrorInfo).reason
    elsif detail.is(Google::Rpc::BadRequest)
      violations = detail.unpack(Google::Rpc::BadRequest).field_violations
      fields = violations.map { |violation| "\n  #{violation.field}: #{violation.description}" }
    end
  end
  "#{error.details.dup.force_encoding(Encoding::UTF_8)} [#{reason}]#{fields.join}"
end

COMMANDS = { "nodes" => 0, "deploy" => 2, "explain" => 1, "delete" => 1 }.freeze
command, *words = ARGV
unless COMMANDS[command] == words.size
  warn USAGE
  exit 2
end
$stdout.sync = true
begin
  settings = %w[server ca_file token].to_h { |name| [name.to_sym, ENV.fetch("MOTORPOOL_#{name.upcase}")] }
  Client.new(**settings).public_send(command, *words)
rescue GRPC::BadStatus => e
  abort "error: #{describe(e)}"
rescue Failure, KeyError, SystemCallError => e
  abort "error: #{e.message}"
end
