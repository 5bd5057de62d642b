# Reads streams of requests with WEBrick (Debian: ruby-webrick).
#
#     webrick_reader.rb FILE...
#
# Prints a line of JSON for each file: its requests, and how it ends.
require "json"
require "stringio"
require "webrick"

def text(raw)
  raw.dup.force_encoding("ISO-8859-1").encode("UTF-8")
end

def pairs(header)
  header.flat_map { |name, values| values.map { |value| [text(name), text(value)] } }
end

# What `parse` and `body` do, but for what WEBrick makes of a target.
class Reader < WEBrick::HTTPRequest
  def read(stream)
    @socket = stream
    read_request_line(stream)
    read_header(stream)
    head = @header
    count = @raw_header.size
    body = "".b
    begin
      read_body(stream, proc { |part| body << part })
    rescue WEBrick::HTTPStatus::LengthRequired
      # As good as none.
    end
    trailers = WEBrick::HTTPUtils.parse_header(@raw_header.drop(count).join)
    { method: text(@request_method), target: text(@unparsed_uri), fields: pairs(head),
      body: text(body), trailers: pairs(trailers) }
  end
end

def read(stream)
  requests = []
  until stream.eof?
    begin
      requests << Reader.new(WEBrick::Config::HTTP).read(stream)
    rescue WEBrick::HTTPStatus::Status => error
      return requests, stream.eof? ? "incomplete" : "error: #{error}"
    end
  end
  [requests, "clean"]
end

ARGV.each do |name|
  requests, ending = read(StringIO.new(File.binread(name)))
  puts JSON.generate({ requests: requests, end: ending })
end
