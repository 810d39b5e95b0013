require "cgi"
require "erb"
require "rack"
require "rack/mock"
require "resque/server"
require "resque/scheduler/server"
require "resque-retry/server"

Resque::Server.set :environment, :production
Resque::Server.set :host_authorization, {permitted_hosts: []}
Resque::Server.set :dump_errors, true

# Fetches pages of Resque's web interface, without a network in between, and remembers which.
class Browser
  class NotServed < StandardError; end

  attr_reader :served

  def initialize
    @rack = Rack::MockRequest.new(Resque::Server.new)
    @served = 0
  end

  # Returns the text of a page that must be there.
  def get(path, headers = {})
    answer(:get, path, headers, 200).body
  end

  # Returns where an action leads.
  def follow(method, path, parameters = {})
    headers = method == :get ? {} : {params: parameters}
    answer(method, path, headers, 302, 303)["Location"].sub(%r{\Ahttp://[^/]*}, "")
  end

  # Returns the page that an action answers with.
  def post(path, parameters = {})
    answer(:post, path, {params: parameters}, 200).body
  end

  private

  def answer(method, path, headers, *statuses)
    response = @rack.request(method.to_s.upcase, path, headers)
    unless statuses.include?(response.status)
      raise NotServed, "#{method.upcase} #{path}: status #{response.status} #{response.errors.lines.first(2).join(" ").strip}"
    end

    @served += 1
    response
  end
end
