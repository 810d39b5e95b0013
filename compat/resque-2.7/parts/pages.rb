require_relative "../browser"

# The web interface with data in every page: what it shows is what the interface for programs says, and its buttons do what they say.
class Pages < Part
  title "pages: every page and button of the web interface"

  PAGED_JOBS = 45
  BROKEN_JOBS = 40
  OTHER_BROKEN_JOBS = 5
  TIMESTAMPS = 25
  CROWDED_JOBS = 25
  FAR_SECONDS = 100_000
  SCHEDULE = {"nightly" => {"cron" => "0 3 * * *", "class" => "Count", "queue" => "nightly", "args" => ["pages", 1], "description" => "each night"},
              "asked" => {"every" => "1d", "class" => "Later", "args" => {"part" => "pages"}, "parameters" => {"colour" => {"default" => "green"}}}}.freeze

  def exercise
    @browser = Browser.new
    fill
    overview
    queues
    workers
    failed
    stats
    schedule
    delayed
    retries
    assets
    press_buttons
    several_failed_queues
    Gate.open("pages")
    retire(*@processes)
    holds("#{@browser.served} pages and buttons answered", @browser.served.positive?)
  end

  private

  def fill
    Resque::Scheduler.dynamic = true
    @processes = [worker("busy", queues: "busy"), worker("idle", queues: "idle,broken,retried", fork_per_job: false)]
    @busy, @idle = registered(*@processes)
    PAGED_JOBS.times { |id| Resque.enqueue_to("paged", Count, "pages", id) }
    3.times { |id| Resque.enqueue_to("small", OtherCount, "<b>small</b>", id) }
    BROKEN_JOBS.times { |id| Resque.enqueue_to("broken", Broken, "pages_broken", id) }
    OTHER_BROKEN_JOBS.times { |id| Resque.enqueue_to("broken", OtherBroken, "pages_broken", BROKEN_JOBS + id) }
    Resque.enqueue(RetriedMuchLater, "pages_retried", 1)
    Resque.enqueue_to("busy", Held, "pages", "busy")
    await_started("pages", "busy")
    await_processed(BROKEN_JOBS + OTHER_BROKEN_JOBS + 1)
    delay
    SCHEDULE.each { |name, config| Resque.set_schedule(name, config.merge("persist" => true)) }
    Resque.last_enqueued_at("nightly", "2001-02-03 04:05:06 +0000")
  end

  def delay
    @far = Time.now.to_i + FAR_SECONDS
    TIMESTAMPS.times { |id| Resque.enqueue_at(@far + id, Later, "pages", id) }
    (CROWDED_JOBS - 1).times { |id| Resque.enqueue_at(@far, Later, "crowd", id) }
  end

  def overview
    equal("/ leads to", @browser.follow(:get, "/"), "/overview")
    %w[/overview /overview.poll].each do |path|
      page = @browser.get(path)
      equal("#{path}: queues", sizes(page), Resque.queue_sizes)
      equal("#{path}: failed", number(page, %r{failed">failed</a></td>\s*<td class='size'>(\d+)}), Resque::Failure.count)
      equal("#{path}: working", page[/\d+ of \d+ Workers Working/], "1 of 2 Workers Working")
    end
  end

  def queues
    page = @browser.get("/queues")
    equal("/queues", sizes(page), {"paged" => PAGED_JOBS, "small" => 3, "broken" => 0, "busy" => 0, "retried" => 0})
    [[0, 20], [20, 20], [40, 5], [60, 0]].each do |start, shown|
      page = @browser.get("/queues/paged?start=#{start}")
      equal("/queues/paged from #{start}: of, shown", [number(page, %r{of <b>(\d+)</b> jobs}), cells(page, "args")],
            [PAGED_JOBS, jobs("paged", start, shown).map { |job| job["args"].inspect }])
    end
    equal("/queues/small", cells(@browser.get("/queues/small"), "args"), jobs("small", 0, 3).map { |job| job["args"].inspect })
    holds("/queues/nowhere says that there are none", @browser.get("/queues/nowhere").include?("There are no pending jobs in this queue"))
  end

  def workers
    host = @busy.to_s.split(":").first
    ["/workers", "/workers.poll", "/workers/all", "/workers/#{host}"].each do |path|
      page = @browser.get(path)
      equal("#{path}: rows", page.scan(/<tr class="(working|idle)">/).flatten.sort, %w[idle working])
      equal("#{path}: workers", page.scan(%r{/workers/([^"']*:\d+:[^"']*)["']}).flatten.uniq.sort, Resque.workers.map(&:to_s).sort)
    end
    page = @browser.get("/workers/#{escape(@idle)}")
    equal("/workers/ID: processed, failed", page.scan(%r{<td>(\d+)</td>}).flatten.map(&:to_i), [@idle.pid, @idle.processed, @idle.failed])
    holds("/workers/ID of one that waits", page.include?("Waiting for a job..."))
    working
  end

  def working
    page = @browser.get("/working")
    equal("/working", [page[/\d+ of \d+ Workers Working/], page.scan(%r{class='where'><a href="([^"]*)"}).flatten], ["1 of 2 Workers Working", ["/workers/#{@busy}"]])
    page = @browser.get("/working/#{escape(@busy)}")
    equal("/working/ID: queue, class, arguments", [page[%r{/queues/(\w+)}, 1], page[%r{<code>(\w+)</code>}, 1], page.scan(/--- (\w+)/).flatten],
          ["busy", "Held", %w[pages busy]])
    holds("/workers/ID of the one that works", @browser.get("/workers/#{escape(@busy)}").include?("<code>Held</code>"))
  end

  def failed
    all = BROKEN_JOBS + OTHER_BROKEN_JOBS
    # The page takes its twenty from the oldest end, and turns them round unless it is told not to.
    {"" => (0..19).to_a.reverse, "?start=20" => (20..39).to_a.reverse, "?start=40&order=asc" => (40..44).to_a}.each do |query, ids|
      page = @browser.get("/failed#{query}")
      equal("/failed#{query}: of, shown", [number(page, %r{of <b>(\d+)</b> jobs}), failed_ids(page)], [all, ids])
    end
    equal("/failed of a class", failed_ids(@browser.get("/failed/?class=OtherBroken&order=asc")), (BROKEN_JOBS...all).to_a)
    page = @browser.get("/failed/failed")
    equal("/failed/failed", [number(page, %r{of <b>(\d+)</b> jobs}), page[%r{<code>(Broken::Fault)</code>}, 1]], [all, "Broken::Fault"])
  end

  def stats
    equal("/stats leads to", @browser.follow(:get, "/stats"), "/stats/resque")
    equal("/stats/resque", table(@browser.get("/stats/resque")), Resque.info.to_h { |name, value| [name.to_s, value.to_s] })
    shown = table(@browser.get("/stats/redis"))
    equal("/stats/redis: the version", shown["redis_version"], Resque.redis.redis.info["redis_version"])
    plain = @browser.get("/stats.txt").lines(chomp: true).to_h { |line| line.split("=") }
    info = Resque.info
    equal("/stats.txt", plain, {"resque.pending" => info[:pending], "resque.processed+" => info[:processed], "resque.failed+" => info[:failed],
                                "resque.workers" => 2, "resque.working" => 1}.merge(Resque.queue_sizes.transform_keys { |name| "queues.#{name}" }).transform_values(&:to_s))
    keys
  end

  # What live workers change all the time.
  VOLATILE = /heartbeat|pruning/

  def keys
    rows = @browser.get("/stats/keys").scan(%r{/stats/keys/[^\n]*">([^\n]*)</a>\s*</th>\s*<td>(\w+)</td>\s*<td>(\d+)</td>}m)
                   .reject { |key,| key.match?(VOLATILE) }
    # The page asks by KEYS, so this asks by SCAN.
    names = Resque.redis.scan_each.to_a.uniq.grep_v(VOLATILE).sort
    equal("/stats/keys: every key, its type and size", rows.sort, names.map { |key| [key, Resque.redis.type(key), size(key).to_s] })
    equal("/stats/keys: what stands there once", (names & %w[failed queues schedules_changed stat:processed workers]).size, 5)
    equal("/stats/keys: types among them", rows.map { |row| row[1] }.uniq.sort, %w[hash list set string zset])
    pages = rows.map { |key, type,| [key, type, @browser.get("/stats/keys/#{escape(key)}")[%r{is a (\w+)</h1>}, 1]] }
    equal("/stats/keys/KEY of #{rows.size} keys, whose type is not shown", pages.reject { |_, type, shown| type == shown }, [])
    page = @browser.get("/stats/keys/queue:paged?start=40")
    equal("/stats/keys/KEY of a list, from 40", page.scan(/"pages",(\d+)/).flatten.map(&:to_i), (40..44).to_a)
  end

  def size(key)
    case Resque.redis.type(key)
    when "list" then Resque.redis.llen(key)
    when "set" then Resque.redis.scard(key)
    when "zset" then Resque.redis.zcard(key)
    when "hash" then Resque.redis.hlen(key)
    when "string" then Resque.redis.get(key).length
    end
  end

  def schedule
    page = @browser.get("/schedule")
    rows = page.scan(%r{<tr style=.*?</tr>}m).map { |row| row.scan(%r{<td(?: style="white-space:nowrap")?>([^<]*)</td>}).flatten }
    equal("/schedule", rows, [["asked", "", "every: 1d", "Later", "later", "[&quot;part&quot;, &quot;pages&quot;]", "Never"],
                              ["nightly", "each night", "cron: 0 3 * * *", "Count", "nightly", "&quot;pages&quot;\n1", "2001-02-03 04:05:06 +0000"]])
  end

  def delayed
    all = TIMESTAMPS + 1
    [[0, 20], [20, all - 20]].each do |start, shown|
      page = @browser.get("/delayed?start=#{start}")
      equal("/delayed from #{start}: of, shown", [number(page, %r{of <b>(\d+)</b> timestamps}), page.scan(%r{name="timestamp" value="(\d+)"}).flatten.map(&:to_i)],
            [all, Resque.redis.zrange("delayed_queue_schedule", start, start + shown - 1).map(&:to_i)])
    end
    [[0, 20], [20, 5]].each do |start, shown|
      page = @browser.get("/delayed/#{@far}?start=#{start}")
      equal("/delayed/TIMESTAMP from #{start}: of, shown", [number(page, %r{of <b>(\d+)</b> jobs}), cells(page, "class").size], [CROWDED_JOBS, shown])
    end
    arguments = CGI.escape(JSON.generate(["pages", 3]))
    equal("/delayed/jobs/CLASS", @browser.get("/delayed/jobs/Later?args=#{arguments}").scan(%r{<td>\s*(\d{4}-[^<]*?)\s*</td>}).flatten, [Time.at(@far + 3).to_s])
    search
  end

  def search
    page = @browser.post("/delayed/search", "search" => "LATER")
    equal("/delayed/search of a class: delayed", page.scan(%r{<td class='class'>(\w+)</td>}).flatten.tally, {"Later" => TIMESTAMPS + CROWDED_JOBS - 1, "RetriedMuchLater" => 1})
    page = @browser.post("/delayed/search", "search" => "othercount")
    equal("/delayed/search of a class: queued", page.scan(%r{<td class='class'>(\w+)</td>}).flatten.tally, {"small" => 3, "OtherCount" => 3})
    # resque-scheduler 4.11 looks for working jobs too and then drops what it found.
    @browser.post("/delayed/search", "search" => "held")
  end

  def retries
    @retry_at = Resque.scheduled_at(RetriedMuchLater, "pages_retried", 1).first
    page = @browser.get("/retry")
    equal("/retry: of, shown", [number(page, %r{of\s*<b>(\d+)</b> timestamps}), page.scan(%r{action="/retry/(\d+)/remove"}).flatten.map(&:to_i)],
          [TIMESTAMPS + 1, Resque.delayed_queue_peek(0, 20)])
    page = @browser.get("/retry/#{@retry_at}")
    equal("/retry/TIMESTAMP: jobs, attempts, exception", [number(page, %r{of\s*<b>(\d+)</b> jobs}), page[%r{<td>(\d+)</td>}, 1], page[%r{<code>(.*?)</code>}, 1]],
          [1, "0", "Broken::Fault"])
  end

  ASSETS = %w[favicon.ico idle.png jquery-3.6.0.min.js jquery.relatize_date.js main.js poll.png ranger.js reset.css style.css working.png].freeze

  def assets
    folder = Resque::Server.public_folder
    equal("assets, byte for byte", ASSETS.reject { |name| @browser.get("/#{name}").b == File.binread(File.join(folder, name)) }, [])
  end

  def press_buttons
    buttons_of_the_schedule
    buttons_of_delayed_jobs
    buttons_of_retries
    buttons_of_failures
    equal("POST /queues/NAME/remove", [@browser.follow(:post, "/queues/small/remove"), Resque.size("small"), Resque.queues.include?("small")], ["/queues", 0, false])
  end

  def buttons_of_the_schedule
    @browser.follow(:post, "/schedule/requeue", "job_name" => "nightly")
    equal("POST /schedule/requeue", jobs("nightly", 0, 5), [{"class" => "Count", "args" => ["pages", 1]}])
    holds("POST /schedule/requeue asks for parameters", @browser.post("/schedule/requeue", "job_name" => "asked").include?('name="colour" value="green"'))
    @browser.follow(:post, "/schedule/requeue_with_params", "job_name" => "asked", "colour" => "blue")
    equal("POST /schedule/requeue_with_params", jobs("later", 0, 5), [{"class" => "Later", "args" => [{"part" => "pages", "colour" => "blue"}]}])
    @browser.follow(:delete, "/schedule", "job_name" => "nightly")
    equal("DELETE /schedule", [Resque.redis.hkeys("persistent_schedules"), Resque.redis.smembers("schedules_changed").sort], [["asked"], %w[asked nightly]])
  end

  def buttons_of_delayed_jobs
    Resque.remove_queue("later")
    @browser.post("/delayed/queue_now", "timestamp" => @far.to_s)
    equal("POST /delayed/queue_now", [jobs("later", 0, 5), Resque.delayed_timestamp_size(@far)],
          [[{"class" => "Later", "args" => ["pages", 0]}], CROWDED_JOBS - 1])
    @browser.post("/delayed/queue_now", "timestamp" => (@far + 1).to_s)
    equal("POST /delayed/queue_now of the last there", [Resque.size("later"), Resque.delayed_queue_schedule_size], [2, TIMESTAMPS])
    @browser.follow(:post, "/delayed/cancel_now", "timestamp" => (@far + 2).to_s, "klass" => "Later", "args" => '["pages",2]')
    equal("POST /delayed/cancel_now", [Resque.delayed_timestamp_size(@far + 2), Resque.delayed_queue_schedule_size], [0, TIMESTAMPS - 1])
  end

  def buttons_of_retries
    job = Resque.delayed_timestamp_peek(@retry_at, 0, 1).first
    @browser.follow(:post, "/retry/#{@retry_at}/jobs/#{escape(Resque.encode(job))}/remove")
    equal("POST /retry/TIMESTAMP/jobs/JOB/remove", [Resque.delayed_timestamp_size(@retry_at), Resque.keys.grep(/retry/)], [0, []])
    @browser.follow(:post, "/retry/#{@far}/remove")
    equal("POST /retry/TIMESTAMP/remove", Resque.delayed_timestamp_size(@far), 0)
    @browser.follow(:post, "/delayed/clear")
    equal("POST /delayed/clear", [Resque.delayed_queue_schedule_size, Resque.keys.grep(/delayed:\d|timestamps/)], [0, []])
  end

  def buttons_of_failures
    all = BROKEN_JOBS + OTHER_BROKEN_JOBS
    Gate.open("pages_broken")
    equal("GET /failed/requeue/0 by script", @browser.get("/failed/requeue/0", "HTTP_X_REQUESTED_WITH" => "XMLHttpRequest"), Resque::Failure.all(0)["retried_at"])
    @browser.follow(:get, "/failed/failed/requeue/1")
    await_finished("pages_broken", 2)
    @browser.follow(:get, "/failed/remove/2")
    equal("GET /failed/remove/2", [Resque::Failure.count, failure_ids(0, 4)], [all - 1, [0, 1, 3, 4]])
    @browser.follow(:post, "/failed/clear_retried")
    equal("POST /failed/clear_retried", [Resque::Failure.count, failure_ids(0, 2)], [all - 3, [3, 4]])
    @browser.follow(:post, "/failed/requeue/all")
    await_finished("pages_broken", all - 1)
    finished_exactly("pages_broken", (0...all).to_a - [2])
    equal("POST /failed/clear", [@browser.follow(:post, "/failed/clear"), Resque::Failure.count], ["/failed", 0])
  end

  # The pages that only the other backend has: failures in a list for each queue.
  def several_failed_queues
    usual = Resque::Failure.backend
    Resque::Failure.backend = Resque::Failure::RedisMultiQueue
    %w[one one two].each_with_index { |queue, id| Resque::Failure.create(exception: Broken::Fault.new("by hand"), worker: @idle, queue: queue, payload: {"class" => "Count", "args" => ["pages_several", id]}) }
    page = @browser.get("/failed")
    equal("/failed with a list for each queue", page.scan(%r{/failed/(\w+_failed)">\w+</a></b></th>\s*<th[^>]*>(\d+)</th>}), [%w[one_failed 2], %w[two_failed 1]])
    equal("/queues with a list for each queue", sizes(@browser.get("/queues"), "failed").slice("one_failed", "two_failed"), {"one_failed" => 2, "two_failed" => 1})
    equal("/failed/one_failed", failed_ids(@browser.get("/failed/one_failed")), [1, 0])
    @browser.follow(:post, "/failed/one_failed/requeue/all")
    equal("POST /failed/QUEUE/requeue/all", jobs("one", 0, 5).map { |job| job["args"].last }.sort, [0, 1])
    @browser.follow(:get, "/failed/two_failed/remove/0")
    @browser.follow(:post, "/failed/one_failed/clear")
    equal("GET /failed/QUEUE/remove, POST /failed/QUEUE/clear", Resque::Failure.count, 0)
  ensure
    Resque::Failure.backend = usual
  end

  def sizes(page, section = "queues")
    page.scan(%r{href="/#{section}/([^"]*)">[^<]*</a></td>\s*<td class='size'>(\d+)</td>}).to_h.transform_values(&:to_i)
  end

  def number(page, pattern)
    page[pattern, 1]&.to_i
  end

  def cells(page, name)
    page.scan(%r{<td class='#{name}'>(.*?)</td>}m).flatten.map { |cell| CGI.unescapeHTML(cell.gsub(/<[^>]*>/, "")).strip }
  end

  def table(page)
    page.scan(%r{<th>\s*(\S.*?)\s*</th>\s*<td>\s*(.*?)\s*</td>}m).to_h.transform_values { |text| CGI.unescapeHTML(text) }
  end

  def failed_ids(page)
    page.scan(%r{<dd><pre>(.*?)</pre>}m).flatten.map { |text| text[/--- (\d+)/, 1].to_i }
  end

  def failure_ids(start, count)
    Resque::Failure.all(start, count).map { |failure| failure["payload"]["args"].last }
  end

  def jobs(queue, start, count)
    Resque.redis.lrange("queue:#{queue}", start, start + count - 1).map { |job| Resque.decode(job) }
  end

  def escape(text)
    ERB::Util.url_encode(text.to_s)
  end
end
