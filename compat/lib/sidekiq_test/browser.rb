# Looks at Sidekiq's web interface as a browser does: with a session cookie, and the token of the page it looked at last
# in every form it sends. There is no network in between, only Rack.

require "cgi"
require "rack"
require "rack/mock"
require "uri"

class Browser
  Page = Struct.new(:status, :body, :headers) do
    # Returns the text that the pattern's group captures, without the thousands' commas.
    def number(pattern)
      body[pattern, 1]&.delete(",")&.to_i
    end

    # Returns the path that a redirect leads to.
    def leads_to
      location = headers["Location"] || headers["location"]
      location && URI(location).path
    end

    def all(pattern)
      body.scan(pattern).flatten.map { |text| CGI.unescapeHTML(text) }
    end
  end

  def initialize(app)
    @request = Rack::MockRequest.new(app)
    @cookies = {}
    @token = nil
  end

  def get(path)
    visit("GET", path)
  end

  def head(path)
    visit("HEAD", path)
  end

  # Sends a form with the token of the last page.
  def post(path, fields)
    visit("POST", path, params: fields.merge("authenticity_token" => @token))
  end

  # Sends a form without the token, as a page of somebody else would.
  def forge(path, fields)
    visit("POST", path, params: fields)
  end

  private

  def visit(method, path, **more)
    cookies = @cookies.map { |name, value| "#{name}=#{value}" }.join("; ")
    answer = @request.request(method, path, "HTTP_COOKIE" => cookies, **more)
    keep_cookies(answer)
    @token = CGI.unescapeHTML(answer.body[/name=["']authenticity_token["'] value=["']([^"']+)/, 1] || @token.to_s)
    Page.new(answer.status, answer.body, answer.headers)
  end

  def keep_cookies(answer)
    Array(answer.headers["Set-Cookie"] || answer.headers["set-cookie"]).flat_map { |text| text.split("\n") }.each do |cookie|
      name, value = cookie.split(";").first.split("=", 2)
      @cookies[name] = value
    end
  end
end
